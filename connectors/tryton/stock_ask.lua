-- How far the poll has come → what has moved since, with what is there now of each article: Tryton counts it
-- for the warehouse while it reads the move.

local function datetime(text)
  local year, month, day, hour, minute, second, part = text:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.?(%d*)")
  return {__class__ = "datetime", year = tonumber(year), month = tonumber(month), day = tonumber(day),
          hour = tonumber(hour), minute = tonumber(minute), second = tonumber(second),
          microsecond = tonumber((part .. "000000"):sub(1, 6))}
end

return function(doc, settings)
  local domain = list {list {"state", "=", "done"}}
  local since = opt(doc, "watermark")
  if since and since ~= "" then table.insert(domain, list {"write_date", ">", datetime(since)}) end
  return {body = {id = 1, method = "model.stock.move.search_read", params = list {
    domain, doc.offset, doc.page_size, list {list {"write_date", "ASC"}, list {"id", "ASC"}},
    list {"write_date", "product.code", "product.quantity"},
    {company = settings.company, language = "en", locations = list {settings.warehouse}, with_childs = true}}}}
end
