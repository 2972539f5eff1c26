-- An order of Vendure that is cancelled as a whole → what is still open of it is cancelled.
-- Parts of an order that are cancelled leave its state as it was: see docs/connectors/vendure.md.

return function(doc, settings)
  if doc.state ~= "Cancelled" then
    return {nothing = "order " .. doc.code .. " is not cancelled: " .. doc.state}
  end
  if not get(doc, "orderPlacedAt") then
    return {nothing = "order " .. doc.code .. " was never placed"}
  end
  local channel = settings.channel
  local channels = get(settings, "channels")
  for _, of in ipairs(get(doc, "channels") or list()) do
    local own = channels and get(channels, of.code)
    if own then channel = own break end
  end
  return {channel = channel, channel_order_id = doc.code, reason = "cancelled in the shop"}
end
