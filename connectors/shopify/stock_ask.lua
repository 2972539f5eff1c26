-- What the shop has of each now.
local function quoted(text) return '"' .. text:gsub('["\\]', "") .. '"' end

return function(doc, settings)
  local asked = each(doc.members, function(m)
    local data, there = m.event.data, nil
    for name, id in pairs(settings.locations) do
      if name == data.location then there = id end
    end
    if not there then return "{ __typename }" end
    return "inventoryItem(id: " .. quoted(value_of("inventory-item", data.sku)) .. ") { inventoryLevel(locationId: "
      .. quoted(there) .. ') { quantities(names: ["available"]) { quantity } } }'
  end)
  local parts = {}
  for i, text in ipairs(asked) do
    table.insert(parts, "m" .. i .. ": " .. (text == "{ __typename }" and "__typename" or text))
  end
  return {query = "query { " .. table.concat(parts, " ") .. " }"}
end
