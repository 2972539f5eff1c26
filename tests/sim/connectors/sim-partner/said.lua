-- What the shelf says of each member.
return function(at)
  local members = {}
  for i, result in ipairs(at.body.results) do members[i] = {outcome = result} end
  return {members = members}
end
