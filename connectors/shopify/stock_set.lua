-- Sets many quantities, each only where the shop still has what was set last. Those of which that is not
-- known are set without a comparison, by a second mutation of the same call.
local function input(doc, quantities, compare)
  return {
    name = "available", reason = "correction", referenceDocumentUri = "penstock://batch/" .. doc.batch.key,
    ignoreCompareQuantity = not compare, quantities = quantities,
  }
end

return function(doc)
  local compared, first = list{}, list{}
  for _, m in ipairs(doc.members) do
    local before = opt(m, "previous.quantity")
    local one = {inventoryItemId = m.document.item, locationId = m.document.location, quantity = m.document.quantity}
    if before then
      one.compareQuantity = before
      table.insert(compared, one)
    else
      table.insert(first, one)
    end
  end
  local names, calls, variables = {}, {}, {}
  if #compared > 0 then
    table.insert(names, "$compared: InventorySetQuantitiesInput!")
    table.insert(calls, "compared: inventorySetQuantities(input: $compared) { userErrors { field message code } }")
    variables.compared = input(doc, compared, true)
  end
  if #first > 0 then
    table.insert(names, "$first: InventorySetQuantitiesInput!")
    table.insert(calls, "first: inventorySetQuantities(input: $first) { userErrors { field message code } }")
    variables.first = input(doc, first, false)
  end
  return {
    query = "mutation(" .. table.concat(names, ", ") .. ") { " .. table.concat(calls, " ") .. " }",
    variables = variables,
  }
end
