-- Shopify `orders/cancelled` → what is still open of the order is cancelled. The payload is the whole
-- order as it is now; it says that and why, and not which lines: Shopify cancels whole orders.
return function(doc, settings)
  if not get(doc, "cancelled_at") then fail("cancelled_at is missing: the order is not cancelled") end
  return {
    channel = settings.channel,
    channel_order_id = tostring(doc.id),
    reason = get(doc, "cancel_reason"),
  }
end
