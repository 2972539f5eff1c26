-- What is asked of SearchOrders: orders of all our locations, from the watermark on, oldest change first.

return function(doc, settings)
  local places = list()
  for place in pairs(settings.locations) do places[#places + 1] = place end
  if #places == 0 then fail("settings.locations is empty: name the locations of Square to fetch orders of") end
  local since = get(doc, "watermark")
  return {body = {
    location_ids = places, limit = doc.page_size, cursor = get(doc, "cursor"),
    query = {
      filter = since and {date_time_filter = {updated_at = {start_at = since}}} or nil,
      sort = {sort_field = "UPDATED_AT", sort_order = "ASC"},
    },
  }}
end
