-- What Tryton's warehouse has of an article → a count at the hub's location, as of the newest move in it.

return function(doc, settings)
  if not opt(doc, "code") then return {nothing = "the product " .. tostring(doc.id) .. " has no code in Tryton"} end
  return {sku = doc.code, location = settings.location, on_hand = doc.quantity, counted_at = doc.changed}
end
