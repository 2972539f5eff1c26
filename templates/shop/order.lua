-- An order of @NAME@ becomes an order of the hub. The left side is the hub's (`penstock schema
-- order`), the right side reads the message: `order` is its document as it came. Amounts are minor
-- units (cents): money(text, currency) makes them of "19.99". A member that may be missing is read
-- with opt(order, 'path.to.it'); reading one that is not there is an error that names it.
return function(order, settings)
  if opt(order, 'replace_me') then
    error('step 1 of 3: put an order as @NAME@ sends it into '
          .. 'connectors/@NAME@/fixtures/order/first.in.json, in place of what is there')
  end

  -- Step 2: make each right side read the member that holds it in that order, then take the next
  -- line away.
  error('step 2 of 3: say in connectors/@NAME@/order.lua where in the order each value is, then '
        .. 'take this error away')

  local currency = order.currency
  local lines = each(order.items, function(item, i)
    local price = money(item.price, currency)
    return {
      line_id = tostring(i),
      sku = item.sku,
      quantity = tostring(item.quantity),
      unit_price = price,
      total = price * item.quantity,
    }
  end)
  return {
    channel = settings.channel,
    channel_order_id = tostring(order.id),
    placed_at = order.created_at,   -- RFC 3339: 2026-11-23T09:15:00+01:00
    currency = currency,
    prices_include_tax = true,
    lines = lines,
    totals = {grand = money(order.total, currency)},
  }
end
