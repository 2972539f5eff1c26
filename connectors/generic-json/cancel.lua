-- Cancels an order by its number, all of it or the lines that are named.
return function(doc, settings)
  return {
    channel = opt(doc, "channel", settings.channel),
    channel_order_id = doc.channel_order_id,
    reason = opt(doc, "reason"),
    reference = opt(doc, "reference"),
    lines = opt(doc, "lines"),
  }
end
