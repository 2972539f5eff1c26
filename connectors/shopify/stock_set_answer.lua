-- What became of each. A mutation sets all or nothing: beside one that was refused, the others are set the
-- next time.
local function refused(result, index)
  local others = false
  for _, e in ipairs(result.userErrors) do
    local field = opt(e, "field")
    local at = field and #field >= 3 and field[2] == "quantities" and tonumber(field[3]) or nil
    if at == nil or at == index then return e end
    others = true
  end
  return nil, others
end

return function(doc)
  local counts = {compared = 0, first = 0}
  local data = opt(doc, "body.data")
  return {members = each(doc.members, function(m)
    local kind = opt(m, "previous.quantity") and "compared" or "first"
    local index = counts[kind]
    counts[kind] = index + 1
    local result = data and opt(data, kind)
    if not result then -- throttled, most often; nothing was set
      return {outcome = "retryable", cause = opt(doc, "body.errors.1.message", "no data")}
    end
    local e, others = refused(result, index)
    if e and opt(e, "code") == "COMPARE_QUANTITY_STALE" then return {outcome = "stale", cause = e.message} end
    if e then return {outcome = "final", cause = e.message} end
    if others then return {outcome = "retryable", cause = "another of the same call was refused"} end
    return {outcome = "success"}
  end)}
end
