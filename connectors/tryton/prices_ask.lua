-- How far the poll has come → which prices have changed. A price is a record of its own: writing one leaves the
-- dates of the product and of its template as they were.

local function datetime(text)
  local year, month, day, hour, minute, second, part = text:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.?(%d*)")
  return {__class__ = "datetime", year = tonumber(year), month = tonumber(month), day = tonumber(day),
          hour = tonumber(hour), minute = tonumber(minute), second = tonumber(second),
          microsecond = tonumber((part .. "000000"):sub(1, 6))}
end

return function(doc, settings)
  local domain = list {}
  local since = opt(doc, "watermark")
  if since and since ~= "" then
    table.insert(domain, list {
      "OR", list {"template.list_prices.create_date", ">", datetime(since)},
      list {"template.list_prices.write_date", ">", datetime(since)}})
  end
  return {body = {id = 1, method = "model.product.product.search_read", params = list {
    domain, doc.offset, doc.page_size, list {list {"id", "ASC"}},
    list {"code", "list_price", "default_uom.symbol", "template.list_prices.create_date",
          "template.list_prices.write_date"},
    {company = settings.company, language = "en", active_test = false}}}}
end
