-- Moves → of each its article with what there is of it now, and the move's date as `changed`.

return function(answer)
  return {items = each(answer.result, function(move)
    local at, product = move.write_date, get(move, "product.")
    return {
      move = move.id, id = product.id, key = "stock/" .. product.id, code = opt(product, "code"),
      quantity = decimal(product.quantity),
      changed = ("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ"):format(
        at.year, at.month, at.day, at.hour, at.minute, at.second, opt(at, "microsecond") or 0),
    }
  end)}
end
