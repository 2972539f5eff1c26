-- The order of a message is the canonical one; a message without it can not be mapped.
return function(message)
  return message.order
end
