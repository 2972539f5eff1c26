-- The answer of common.db.login → the value of the Authorization header.

return function(answer, settings)
  if not opt(answer, "result") then fail("Tryton does not let the user " .. settings.user .. " in") end
  return {
    value = "Session " .. base64(settings.user .. ":" .. answer.result[1] .. ":" .. answer.result[2]),
  }
end
