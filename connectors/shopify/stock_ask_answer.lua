-- The quantities that the shop has, by the place of each in the question.
return function(doc)
  local n = 0
  return {members = each(doc.members, function(m)
    n = n + 1
    local quantity = opt(doc, "body.data.m" .. n .. ".inventoryLevel.quantities.1.quantity")
    return {current = quantity and {quantity = quantity} or nil}
  end)}
end
