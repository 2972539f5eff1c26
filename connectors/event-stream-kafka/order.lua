-- A canonical order is taken as it is. What it says besides, of who sent it, is left out.
local NOT_OURS = {updated_at = true}

return function(doc, settings)
  local order = {channel = settings.channel}
  for name, value in pairs(doc) do
    if not NOT_OURS[name] then order[name] = value end
  end
  return order
end
