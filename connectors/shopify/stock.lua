-- What can be promised of a SKU at a location, as Shopify counts it: whole pieces, not below zero.
return function(doc, settings)
  local there
  for name, id in pairs(settings.locations) do
    if name == doc.data.location then there = id end
  end
  if not there then return {nothing = "the shop is not told of " .. doc.data.location} end
  local pieces = tonumber(doc.data.available:match("^%-?%d+"))
  return {
    item = value_of("inventory-item", doc.data.sku), -- gid://shopify/InventoryItem/…
    location = there,
    quantity = math.max(pieces, 0),
  }
end
