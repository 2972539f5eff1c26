-- WooCommerce `order.updated` → what is still open of the order is cancelled, where its status says so.
-- There is no message of its own for a cancellation, and every change of every order comes here:
-- the others ask for nothing. So does an order that was cancelled before it was paid: the hub has
-- never seen it, and must not wait for it.
return function(doc, settings)
  if not doc.status then fail("the order has no status") end
  if not listed(settings.cancel_statuses, doc.status) then
    return {nothing = "order " .. doc.id .. " is not cancelled: " .. doc.status}
  end
  if not get(doc, "date_paid_gmt") and not listed(settings.paid_on_delivery, get(doc, "payment_method")) then
    return {nothing = "order " .. doc.id .. " was never paid"}
  end
  return {
    channel = settings.channel,
    channel_order_id = tostring(doc.id),
    reason = doc.status,
  }
end
