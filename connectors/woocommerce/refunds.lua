-- WooCommerce `order.updated` → a fact "refund" for each refund that the order tells. WooCommerce has no
-- webhook of refunds; the order tells number, amount and reason, not the lines.

return function(doc, settings)
  local refunds = get(doc, "refunds") or list()
  if #refunds == 0 then return {nothing = "order " .. doc.id .. " has no refunds"} end
  local order, number = tostring(doc.id), get(doc, "number")
  return each(refunds, function(refund)
    local given = money(refund.total, doc.currency)
    if given > 0 then fail("refund " .. refund.id .. " of order " .. order .. " gives less than nothing") end
    return route("fact.keep", {
      kind = "refund", key = tostring(refund.id), version = "1", -- a refund stays as it is; the order does not
      refs = number ~= order and {order, number} or {order},
      document = {
        channel = settings.channel, channel_order_id = order, refund_id = tostring(refund.id),
        currency = doc.currency, amount = -given, reason = filled(get(refund, "reason")),
      },
    })
  end)
end
