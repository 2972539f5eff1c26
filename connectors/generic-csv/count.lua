-- A row → what a store or warehouse has of an article.
local function of(row, name)
  local text = get(row, name)
  if text and text:trim() ~= "" then return text:trim() end
end

return function(doc, settings)
  local at = of(doc.row, "counted_at")
  return {
    sku = of(doc.row, "sku") or fail("column sku is empty, and must not be"),
    location = of(doc.row, "location") or settings.location,
    on_hand = decimal(of(doc.row, "on_hand") or fail("column on_hand is empty, and must not be")),
    counted_at = at and instant(at, settings.offset),
  }
end
