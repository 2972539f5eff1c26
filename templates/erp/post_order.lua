-- A captured order becomes what @NAME@ takes. `event` is the CloudEvent; its data the order, as
-- `penstock schema order` describes it.
return function(event, settings)
  if opt(event, 'replace_me') then
    error('step 1 of 3: put an event of the hub into '
          .. 'connectors/@NAME@/fixtures/post_order/first.in.json, in place of what is there: one of '
          .. 'GET /v1/events?type=order.captured')
  end

  -- Step 2: make the left sides what the system takes, then take the next line away.
  error('step 2 of 3: say in connectors/@NAME@/post_order.lua what @NAME@ takes, then take this '
        .. 'error away')

  local order = event.data
  local lines = each(order.lines, function(line)
    return {sku = line.sku, quantity = line.quantity, amount = line.total}
  end)
  return {
    external_id = event.subject,
    number = order.channel_order_id,
    currency = order.currency,
    lines = lines,
    total = order.totals.grand,
  }
end
