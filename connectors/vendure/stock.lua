-- stock.* → the stock of these articles in Vendure is what the hub can promise now.
--
-- An event says what changed; what is sent is what holds when it is sent, so the latest wins, and doing it
-- twice does nothing. Vendure sells on hand less what it has allocated to its own orders, which the
-- hub has reserved as well: on hand is set to what is available here and that.

local READ = [[query($skus: [String!]!) {
  productVariants(options: {filter: {sku: {in: $skus}}, take: 100}) {
    items { id sku stockLevels { stockLocationId stockOnHand stockAllocated } } }
  stockLocations(options: {take: 100}) { items { id name } } }]]
local WRITE = [[mutation($input: [UpdateProductVariantInput!]!) { updateProductVariants(input: $input) {
  id stockLevels { stockLocationId stockAllocated } } }]]
local FINAL = {FORBIDDEN = true, GRAPHQL_VALIDATION_FAILED = true, BAD_USER_INPUT = true, USER_INPUT_ERROR = true}
local AT_ONCE = 8 -- articles of one call

return function(doc, settings)
  local answers = doc.answers

  local stop
  local function result(name)
    local answer = opt(answers, name)
    if not answer then return nil, false end
    local wrong = opt(answer, "body.errors.1")
    if wrong then
      local words = "Vendure: " .. (opt(wrong, "message") or "it failed")
      stop = FINAL[opt(wrong, "extensions.code") or ""] and {hold = words} or {again = words}
      return nil, true
    end
    return answer.body.data, true
  end

  -- What changed, at the places that Vendure knows.
  local pairs_of, seen = {}, {}
  for _, change in ipairs(doc.event.data.changes) do
    local name = get(settings.locations, change.location)
    local key = change.sku .. "\n" .. change.location
    if name and not seen[key] then
      seen[key] = true
      pairs_of[#pairs_of + 1] = {sku = change.sku, location = change.location, name = name}
    end
  end

  local function level_of(variant, place)
    for _, level in ipairs(variant.stockLevels) do
      if level.stockLocationId == place then return level end
    end
  end

  for first = 1, #pairs_of, AT_ONCE do
    local last = math.min(first + AT_ONCE - 1, #pairs_of)
    local read_name, write_name = "read_" .. first, "write_" .. first
    local passed = opt(answers, "read_" .. first + AT_ONCE) -- the next ones have begun
    if not passed then
      local read, read_asked = result(read_name)
      if stop then return stop end
      if not read_asked then
        local skus = list()
        for i = first, last do skus[#skus + 1] = pairs_of[i].sku end
        return {call = read_name, changes = false, body = {query = READ, variables = {skus = skus}}}
      end
      local places, input = {}, list()
      for _, place in ipairs(read.stockLocations.items) do places[place.name] = place.id end
      for i = first, last do
        local at = pairs_of[i]
        local place = places[at.name]
        if not place then return {hold = "Vendure has no stock location " .. at.name} end
        local level = opt(look("availability", at.sku, at.location), "items.1.available", "0")
        local available = math.tointeger(tonumber(level:match("^%-?%d+"))) -- whole pieces
        for _, variant in ipairs(read.productVariants.items) do
          if variant.sku == at.sku then
            local now = level_of(variant, place)
            local allocated = now and now.stockAllocated or 0
            local on_hand = math.max(available, 0) + allocated
            if not now or now.stockOnHand ~= on_hand then
              input[#input + 1] = {id = variant.id, stockLevels = list {
                {stockLocationId = place, stockOnHand = on_hand}}}
            end
          end
        end
      end
      local written, write_asked = result(write_name)
      if stop then return stop end
      if #input > 0 and not write_asked then
        return {call = write_name, body = {query = WRITE, variables = {input = input}}}
      end
      -- An order that was placed or fulfilled between reading and writing: what was set is not right.
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
