-- A product of Tryton → a fact.

return function(doc)
  local record = doc.record
  local code = opt(record, "code")
  return {
    kind = "product", key = tostring(doc.id), version = doc.changed, refs = list {code},
    document = {
      sku = code, name = record.name, active = record.active, type = get(record, "template.").type,
      unit = get(record, "default_uom.").symbol, sales_unit = get(record, "sale_uom.").symbol,
    },
  }
end
