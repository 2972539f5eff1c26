-- What a store or warehouse has of an article.
return function(doc, settings)
  return {
    sku = doc.sku,
    location = opt(doc, "location", settings.location),
    on_hand = decimal(doc.on_hand),
    counted_at = opt(doc, "counted_at"),
  }
end
