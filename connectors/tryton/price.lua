-- A product's list price in Tryton, without tax → a fact. It has up to four digits: it stays a text.

return function(doc, settings)
  local record = doc.record
  local code, price = opt(record, "code"), opt(record, "list_price")
  return {
    kind = "price", key = tostring(doc.id), version = doc.changed, refs = list {code},
    document = {
      sku = code, amount = price and decimal(price.decimal), currency = settings.currency, includes_tax = false,
      unit = get(record, "default_uom.").symbol,
    },
  }
end
