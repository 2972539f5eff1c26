-- One position as it is now.
return function(event)
  return {lane = event.subject, version = event.data.version, available = event.data.available}
end
