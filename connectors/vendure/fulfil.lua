-- order.shipped → the same goods are fulfilled in Vendure, and the fulfilment is set to Shipped.
--
-- The fulfilment carries the hub's id of the shipment in its method: that is what is looked for before
-- one is made. Vendure answers 200 whatever happens: `errors`, or a result with an `errorCode`.

local FIND = [[query($code: String!) { orders(options: {filter: {code: {eq: $code}}}) {
  items { id state fulfillments { id state method } } } }]]
local ADD = [[mutation($input: FulfillOrderInput!) { addFulfillmentToOrder(input: $input) {
  __typename ... on Fulfillment { id state } ... on ErrorResult { errorCode message } } }]]
local SHIP = [[mutation($id: ID!) { transitionFulfillmentToState(id: $id, state: "Shipped") {
  __typename ... on Fulfillment { id state }
  ... on FulfillmentStateTransitionError { errorCode message transitionError } } }]]
-- Codes of `errors` that no repetition changes.
local FINAL = {FORBIDDEN = true, GRAPHQL_VALIDATION_FAILED = true, BAD_USER_INPUT = true, USER_INPUT_ERROR = true}

return function(doc, settings)
  local answers, data = doc.answers, doc.event.data
  local order = look("order", data.order_id)
  local ours = order and order.channel == settings.channel
  for _, channel in pairs(get(settings, "channels") or {}) do
    ours = ours or order and order.channel == channel
  end
  if not ours then return {done = true} end -- of another shop

  local stop -- what ends the script: a refusal of Vendure's
  local function result(name, member)
    local answer = opt(answers, name)
    if not answer then return nil, false end
    local wrong = opt(answer, "body.errors.1")
    if wrong then
      local words = "Vendure: " .. (opt(wrong, "message") or "it failed")
      stop = FINAL[opt(wrong, "extensions.code") or ""] and {hold = words} or {again = words}
      return nil, true
    end
    local said = answer.body.data[member]
    if opt(said, "errorCode") then
      stop = {hold = "Vendure: " .. (opt(said, "transitionError") or said.message)}
    end
    return said, true
  end
  local function ask(name, query, variables, changes)
    return {call = name, changes = changes, body = {query = query, variables = variables}}
  end

  local found, asked = result("find", "orders")
  if stop then return stop end
  if not asked then return ask("find", FIND, {code = order.channel_order_id}, false) end
  if #found.items == 0 then return {hold = "Vendure has no order " .. order.channel_order_id} end

  local fulfilment
  for _, one in ipairs(opt(found.items[1], "fulfillments") or list()) do
    if one.method:find(data.shipment_id, 1, true) then fulfilment = one end
  end
  if not fulfilment then
    local made, made_asked = result("add", "addFulfillmentToOrder")
    if stop then return stop end
    if not made_asked then
      local lines, wrong = list(), nil
      for _, line in ipairs(data.lines) do
        local quantity = math.tointeger(tonumber(line.quantity))
        if not quantity then wrong = {hold = "the quantity " .. line.quantity .. " is no whole number of pieces"} end
        lines[#lines + 1] = {orderLineId = line.line_id, quantity = quantity}
      end
      if wrong then return wrong end
      local carrier, tracking = nil, {}
      for _, parcel in ipairs(opt(data, "parcels") or list()) do
        carrier = carrier or opt(parcel, "carrier")
        if opt(parcel, "tracking") then tracking[#tracking + 1] = parcel.tracking end
      end
      return ask("add", ADD, {input = {lines = lines, handler = {
        code = settings.fulfilment_handler,
        arguments = list {
          {name = "method", value = (carrier or "shipment") .. " " .. data.shipment_id},
          {name = "trackingCode", value = table.concat(tracking, ", ")},
        },
      }}})
    end
    fulfilment = made
  end

  if fulfilment.state == "Cancelled" then return {hold = "the fulfilment was cancelled in Vendure"} end
  if fulfilment.state ~= "Shipped" and fulfilment.state ~= "Delivered" then
    local _, shipped = result("ship", "transitionFulfillmentToState")
    if stop then return stop end
    if not shipped then return ask("ship", SHIP, {id = fulfilment.id}) end
  end
  return {done = true}
end
