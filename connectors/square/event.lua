-- A webhook of Square → a fact: payments and refunds as they stand, orders by name (the poll fetches
-- them whole). Other events ask for nothing.

local PAYMENT_STATES = {
  PENDING = "pending", APPROVED = "authorised", COMPLETED = "captured", CANCELED = "voided", FAILED = "failed",
}
local REFUND_STATES = {PENDING = "pending", COMPLETED = "done", REJECTED = "refused", FAILED = "failed"}
local KINDS = {
  CARD = "card", BANK_ACCOUNT = "bank_transfer", WALLET = "wallet", BUY_NOW_PAY_LATER = "pay_later",
  SQUARE_ACCOUNT = "wallet", CASH = "cash", EXTERNAL = "external",
}

-- Minor units and the currency they are of; all amounts of a document are of one.
local function amounts(what)
  local currency
  return function(holder, name, must)
    local said = get(holder, name)
    if not said then
      if must then fail(what .. " has no " .. name) end
      return nil
    end
    currency = currency or said.currency
    money_text(0, currency)
    local value = get(said, "amount") or 0
    if said.currency ~= currency then
      fail(what .. ": " .. name .. " is in " .. said.currency .. ", other amounts in " .. currency)
    end
    if type(value) ~= "number" then fail(what .. ": " .. name .. " is no whole amount") end
    return value
  end, function() return currency end
end

local function refs_of(...)
  local refs = list()
  for i = 1, select("#", ...) do
    local text = filled((select(i, ...)))
    if text then refs[#refs + 1] = text end
  end
  return refs
end

local function fees_of(holder, amount)
  local fees = get(holder, "processing_fee")
  return fees and sum(fees, function(fee) return amount(fee, "amount_money") or 0 end) or nil
end

local function payment(doc, settings)
  local what = "payment " .. doc.id
  local amount, currency = amounts(what)
  local whole = amount(doc, "amount_money", true)
  local card, cash = get(doc, "card_details"), get(doc, "cash_details")
  local place = get(doc, "location_id")
  return {
    kind = "payment", key = doc.id, version = get(doc, "updated_at"), happened_at = get(doc, "created_at"),
    refs = refs_of(get(doc, "order_id"), get(doc, "receipt_number"), get(doc, "reference_id")),
    customer_id = filled(get(doc, "customer_id")),
    document = {
      payment_id = doc.id, order_id = get(doc, "order_id"), channel = settings.channel,
      location_id = place, location = place and get(settings.locations, place),
      state = PAYMENT_STATES[doc.status] or fail(what .. " has the unknown status " .. doc.status),
      kind = KINDS[get(doc, "source_type") or ""] or "other",
      currency = currency(), amount = whole, tip = amount(doc, "tip_money"), total = amount(doc, "total_money"),
      approved = amount(doc, "approved_money"), refunded = amount(doc, "refunded_money"),
      fees = fees_of(doc, amount),
      card_brand = card and opt(card, "card.card_brand"),
      received = cash and amount(cash, "buyer_supplied_money"), change = cash and amount(cash, "change_back_money"),
    },
  }
end

local function refund(doc, settings)
  local what = "refund " .. doc.id
  local amount, currency = amounts(what)
  local whole = amount(doc, "amount_money", true)
  local place = get(doc, "location_id")
  return {
    kind = "refund", key = doc.id, version = get(doc, "updated_at"), happened_at = get(doc, "created_at"),
    refs = refs_of(get(doc, "payment_id"), get(doc, "order_id")),
    document = {
      refund_id = doc.id, payment_id = get(doc, "payment_id"), order_id = get(doc, "order_id"),
      channel = settings.channel, location_id = place, location = place and get(settings.locations, place),
      state = REFUND_STATES[doc.status] or fail(what .. " has the unknown status " .. doc.status),
      currency = currency(), amount = whole, fees = fees_of(doc, amount), reason = filled(get(doc, "reason")),
    },
  }
end

return function(doc, settings)
  local kind, object = doc.type, opt(doc, "data.object")
  if kind == "payment.created" or kind == "payment.updated" then return payment(object.payment, settings) end
  if kind == "refund.created" or kind == "refund.updated" then return refund(object.refund, settings) end
  local order = object and (get(object, "order_created") or get(object, "order_updated"))
  if order then
    return {
      kind = "order", key = order.order_id, version = tostring(order.version),
      happened_at = get(order, "updated_at") or get(order, "created_at"),
      document = {order_id = order.order_id, state = order.state, version = order.version,
                  location_id = get(order, "location_id"), channel = settings.channel},
    }
  end
  return {nothing = "the event " .. kind .. " is not kept"}
end
