-- Shopify `refunds/create` → the fact "refund": what was given back, for which lines, and how, with
-- Shopify's own amounts. See docs/connectors/shopify.md.

return function(doc, settings)
  local side = settings.money == "presentment" and "presentment_money" or "shop_money"
  local what = "refund " .. tostring(doc.id)
  local lines, transactions = get(doc, "refund_line_items") or list(), get(doc, "transactions") or list()

  -- Any amount tells the currency; the shop's own may also stand with a payment alone.
  local currency
  local function look_in(holder, ...)
    for i = 1, select("#", ...) do
      local set = get(holder, (select(i, ...)))
      local money_of = set and get(set, side)
      currency = currency or money_of and get(money_of, "currency_code")
    end
  end
  look_in(doc, "total_duties_set")
  for _, line in ipairs(lines) do look_in(line, "subtotal_set") end
  for _, tx in ipairs(transactions) do look_in(tx, "amount_set") end
  for _, adjustment in ipairs(get(doc, "order_adjustments") or list()) do look_in(adjustment, "amount_set") end
  if not currency and side == "shop_money" and #transactions > 0 then currency = get(transactions[1], "currency") end
  if not currency then fail(what .. " tells no currency: its amounts can not be kept exactly") end

  -- Of the set where there is one; else the plain member, which is the shop's money.
  local function amount(holder, name)
    local set = get(holder, name .. "_set")
    local said = set and set[side].amount
    if said == nil then
      if side ~= "shop_money" then fail(what .. ": " .. name .. "_set is missing: presentment money needs it") end
      said = get(holder, name)
    end
    return said ~= nil and money(tostring(said), currency) or nil
  end

  local paid = each(transactions, function(tx)
    local of = side == "shop_money" and get(tx, "currency") or currency
    if of ~= currency then fail(what .. ": a payment of it is in " .. of .. ", its lines in " .. currency) end
    return {transaction_id = tostring(tx.id), kind = get(tx, "kind"), gateway = filled(get(tx, "gateway")),
            state = get(tx, "status"), amount = amount(tx, "amount")}
  end)
  local given = sum(paid, function(tx)
    return tx.kind == "refund" and tx.state == "success" and tx.amount or 0
  end)

  local order = tostring(doc.order_id)
  return {
    kind = "refund", key = tostring(doc.id), happened_at = get(doc, "processed_at") or get(doc, "created_at"),
    refs = {order},
    document = {
      channel = settings.channel, channel_order_id = order, refund_id = tostring(doc.id),
      currency = currency, amount = given, reason = filled(get(doc, "note")), restock = get(doc, "restock"),
      lines = each(lines, function(line)
        local item = get(line, "line_item")
        local place = get(line, "location_id")
        return {
          line_id = tostring(line.line_item_id), sku = item and filled(get(item, "sku")),
          quantity = decimal(line.quantity), subtotal = amount(line, "subtotal"), tax = amount(line, "total_tax"),
          restock = get(line, "restock_type"), location_id = place and tostring(place) or nil,
        }
      end),
      adjustments = each(get(doc, "order_adjustments") or list(), function(adjustment)
        return {kind = get(adjustment, "kind"), reason = filled(get(adjustment, "reason")),
                amount = amount(adjustment, "amount"), tax = amount(adjustment, "tax_amount")}
      end),
      duties = get(doc, "total_duties_set") and amount(doc, "total_duties") or nil,
      transactions = paid,
    },
  }
end
