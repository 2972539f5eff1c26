-- How far the poll has come → which products have changed: Tryton dates a product and its template apart.

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
      "OR", list {"create_date", ">", datetime(since)}, list {"write_date", ">", datetime(since)},
      list {"template.create_date", ">", datetime(since)}, list {"template.write_date", ">", datetime(since)}})
  end
  return {body = {id = 1, method = "model.product.product.search_read", params = list {
    domain, doc.offset, doc.page_size, list {list {"id", "ASC"}},
    list {"code", "name", "active", "default_uom.symbol", "sale_uom.symbol", "create_date", "write_date",
          "template.type", "template.create_date", "template.write_date"},
    {company = settings.company, language = "en", active_test = false}}}}
end
