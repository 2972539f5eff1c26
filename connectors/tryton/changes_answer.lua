-- An answer of search_read → its records, each with the newest of its dates as `changed`, and a key: what is
-- known of a product's price is not older because the product is newer.

local function text_of(at)
  return ("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ"):format(at.year, at.month, at.day, at.hour, at.minute, at.second,
                                                         opt(at, "microsecond") or 0)
end
local function newest(record, so_far)
  for _, name in ipairs {"create_date", "write_date"} do
    local at = opt(record, name)
    if at and (not so_far or text_of(at) > so_far) then so_far = text_of(at) end
  end
  return so_far
end

return function(answer)
  return {items = each(answer.result, function(record)
    local changed = newest(record)
    local template = get(record, "template.")
    if template then changed = newest(template, changed) end
    for _, price in ipairs(template and get(template, "list_prices.") or list {}) do
      changed = newest(price, changed)
    end
    local key = (get(record, "list_price") and "price/" or "product/") .. record.id
    return {record = record, id = record.id, key = key, changed = changed}
  end)}
end
