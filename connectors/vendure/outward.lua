-- order.shipped → the same goods are fulfilled in Vendure, and the fulfilment is set to Shipped;
-- it, and stock.* → the stock of the articles in Vendure is what the hub can promise now.
--
-- One script and one call at a time for both: Vendure reads a stock level, adds and writes it back, so a
-- fulfilment beside a change of stock loses one of them. For the same reason the stock of what was
-- shipped is compared after the fulfilment.
--
-- A fulfilment carries the hub's id of the shipment in its method: that is what is looked for before one is
-- made. Of stock, what holds when it is sent is sent, whatever the event was: the latest wins, and doing
-- it twice does nothing. Vendure sells on hand less what it has allocated to its own orders, which the hub
-- has reserved as well: on hand is set to what is available here and that.
--
-- Vendure answers 200 whatever happens: `errors`, or a result with an `errorCode`.

local FIND = [[query($code: String!) { orders(options: {filter: {code: {eq: $code}}}) {
  items { id state fulfillments { id state method } } } }]]
local ADD = [[mutation($input: FulfillOrderInput!) { addFulfillmentToOrder(input: $input) {
  __typename ... on Fulfillment { id state } ... on ErrorResult { errorCode message } } }]]
local SHIP = [[mutation($id: ID!) { transitionFulfillmentToState(id: $id, state: "Shipped") {
  __typename ... on Fulfillment { id state }
  ... on FulfillmentStateTransitionError { errorCode message transitionError } } }]]
local READ = [[query($skus: [String!]!) {
  productVariants(options: {filter: {sku: {in: $skus}}, take: 100}) {
    items { id sku stockLevels { stockLocationId stockOnHand stockAllocated } } }
  stockLocations(options: {take: 100}) { items { id name } } }]]
local WRITE = [[mutation($input: [UpdateProductVariantInput!]!) { updateProductVariants(input: $input) {
  id stockLevels { stockLocationId stockOnHand stockAllocated } } }]]
-- Codes of `errors` that no repetition changes.
local FINAL = {FORBIDDEN = true, GRAPHQL_VALIDATION_FAILED = true, BAD_USER_INPUT = true, USER_INPUT_ERROR = true}
local AT_ONCE = 8 -- articles of one call

return function(doc, settings)
  local answers, data = doc.answers, doc.event.data

  local stop -- what ends the script: a refusal of Vendure's
  local function result(name)
    local answer = opt(answers, name)
    if not answer then return nil, false end
    local wrong = opt(answer, "body.errors.1")
    if wrong then
      local words = "Vendure: " .. (opt(wrong, "message") or "it failed")
      stop = FINAL[opt(wrong, "extensions.code") or ""] and {hold = words} or {again = words}
      return nil, true
    end
    for _, said in pairs(answer.body.data) do
      if type(said) == "object" and opt(said, "errorCode") then
        stop = {hold = "Vendure: " .. (opt(said, "transitionError") or said.message)}
      end
    end
    return answer.body.data, true
  end
  local function ask(name, query, variables, changes)
    return {call = name, changes = changes, body = {query = query, variables = variables}}
  end

  -- The next step of a shipment; nil: it is fulfilled, or of another shop.
  local function fulfil()
    local order = look("order", data.order_id)
    local ours = order and order.channel == settings.channel
    for _, channel in pairs(get(settings, "channels") or {}) do
      ours = ours or order and order.channel == channel
    end
    if not ours then return nil end

    local found, asked = result("find")
    if stop then return stop end
    if not asked then return ask("find", FIND, {code = order.channel_order_id}, false) end
    found = found.orders.items
    if #found == 0 then return {hold = "Vendure has no order " .. order.channel_order_id} end

    local fulfilment
    for _, one in ipairs(opt(found[1], "fulfillments") or list()) do
      if one.method:find(data.shipment_id, 1, true) then fulfilment = one end
    end
    if not fulfilment then
      local made, made_asked = result("add")
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
      fulfilment = made.addFulfillmentToOrder
    end

    if fulfilment.state == "Cancelled" then return {hold = "the fulfilment was cancelled in Vendure"} end
    if fulfilment.state ~= "Shipped" and fulfilment.state ~= "Delivered" then
      local _, shipped = result("ship")
      if stop then return stop end
      if not shipped then return ask("ship", SHIP, {id = fulfilment.id}) end
    end
  end

  if doc.event.type:find("order.shipped", 1, true) then
    local step = fulfil()
    if step then return step end
  end

  -- What changed, at the places that Vendure knows.
  local changed, seen = {}, {}
  for _, change in ipairs(opt(data, "changes") or data.lines) do
    local name = get(settings.locations, change.location)
    local key = change.sku .. "\n" .. change.location
    if name and not seen[key] then
      seen[key] = true
      changed[#changed + 1] = {sku = change.sku, location = change.location, name = name}
    end
  end

  local function level_of(variant, place)
    for _, level in ipairs(variant.stockLevels) do
      if level.stockLocationId == place then return level end
    end
  end

  -- What must be written of what was read: input of the mutation, and what it must come to.
  local function differences(read, first, last)
    local places, input = {}, list()
    for _, place in ipairs(read.stockLocations.items) do places[place.name] = place.id end
    for i = first, last do
      local at = changed[i]
      local place = places[at.name]
      if not place then return nil, {hold = "Vendure has no stock location " .. at.name} end
      local level = opt(look("availability", at.sku, at.location), "items.1.available", "0")
      local available = math.tointeger(tonumber(level:match("^%-?%d+"))) -- whole pieces
      for _, variant in ipairs(read.productVariants.items) do
        if variant.sku == at.sku then
          local now = level_of(variant, place)
          local on_hand = math.max(available, 0) + (now and now.stockAllocated or 0)
          if not now or now.stockOnHand ~= on_hand then
            input[#input + 1] = {id = variant.id, stockLevels = list {{stockLocationId = place, stockOnHand = on_hand}}}
          end
        end
      end
    end
    return input
  end

  for first = 1, #changed, AT_ONCE do
    local last = math.min(first + AT_ONCE - 1, #changed)
    if not opt(answers, "read_" .. first + AT_ONCE) then -- else the next ones have begun
      local read, asked = result("read_" .. first)
      if stop then return stop end
      if not asked then
        local skus = list()
        for i = first, last do skus[#skus + 1] = changed[i].sku end
        return ask("read_" .. first, READ, {skus = skus}, false)
      end
      local written, write_asked = result("write_" .. first)
      if stop then return stop end
      if not write_asked then
        local input, wrong = differences(read, first, last)
        if wrong then return wrong end
        if #input > 0 then return ask("write_" .. first, WRITE, {input = input}) end
      end
      -- An order that was placed between reading and writing: what was set is not right.
      for _, variant in ipairs(written and written.updateProductVariants or list()) do
        for _, before in ipairs(read.productVariants.items) do
          for _, level in ipairs(before.id == variant.id and variant.stockLevels or list()) do
            local was = level_of(before, level.stockLocationId)
            if (was and was.stockAllocated or 0) ~= level.stockAllocated then
              return {again = "an order came to Vendure at the same time"}
            end
          end
        end
      end
    end
  end
  return {done = true}
end
