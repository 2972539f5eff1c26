-- An order of Square → the fact "sale": a canonical order with what was paid, given back and rounded.
--
-- Square's amounts are whole minor units already. What a line costs is its gross amount (modifiers
-- included) less its discounts; taxes are either in that (INCLUSIVE) or come on top (ADDITIVE), tax by
-- tax. The canonical order knows one or the other: where an order has both, lines and charges are told
-- with all tax in. The sums are checked here: a sale is kept with Square's own total, or a person hears
-- why not. See docs/connectors/square.md.

local ROUNDING = 5 -- minor units that the parts may differ from the total by

-- Square's types of tender to the hub's kinds.
local TENDER_KINDS = {
  CARD = "card", CASH = "cash", SQUARE_GIFT_CARD = "gift_card", THIRD_PARTY_CARD = "card", WALLET = "wallet",
  BANK_ACCOUNT = "bank_transfer", BUY_NOW_PAY_LATER = "pay_later", SQUARE_ACCOUNT = "wallet", NO_SALE = "none",
}
local CARD_STATES = {AUTHORIZED = "authorised", CAPTURED = "captured", VOIDED = "voided", FAILED = "failed"}

return function(doc, settings)
  local total_money = get(doc, "total_money")
  if not total_money then fail("the order has no total_money: it is a request to Square, not its answer") end
  local id = get(doc, "id")
  if not id then fail("the order has no id: it is a calculation of Square's, nothing was sold") end
  if get(doc, "state") == "DRAFT" then return {nothing = "order " .. id .. " is a draft"} end
  local currency = total_money.currency
  money_text(0, currency) -- a currency there is

  -- Minor units; nil where it is not said.
  local function amount(holder, name, what)
    local said = get(holder, name)
    if not said then return nil end
    local value, of = get(said, "amount") or 0, get(said, "currency")
    if of and of ~= currency then
      fail((what or "the order") .. ": " .. name .. " is in " .. of .. ", the order in " .. currency)
    end
    if type(value) ~= "number" then fail((what or "the order") .. ": " .. name .. " is no whole amount") end
    return value
  end

  -- --- taxes: which there are, and whether prices include them ------------------------------------
  local taxes_of, inclusive, additive = {}, false, false
  for _, tax in ipairs(get(doc, "taxes") or list()) do
    local name, kind = filled(get(tax, "name")), get(tax, "type")
    local percent = get(tax, "percentage")
    local codes = get(settings, "tax_codes")
    local known = {
      code = name and codes and get(codes, name) or name and code_of(name) or "SQ-TAX",
      rate = percent and rate_of(percent), included = kind == "INCLUSIVE",
    }
    if known.included then inclusive = true else additive = true end
    if get(tax, "uid") then taxes_of[tax.uid] = known end
  end
  local mixed = inclusive and additive

  -- The tax lines of a line or charge, and how much of them comes on top of its amount. Where Square
  -- names only their sum, it is one line.
  local function taxes(holder, what)
    local own, on_top = 0, 0
    local made = each(get(holder, "applied_taxes") or list(), function(part)
      local tax = taxes_of[get(part, "tax_uid") or ""] or {code = "SQ-TAX", included = inclusive and not additive}
      local value = amount(part, "applied_money", what) or 0
      own = own + value
      if not tax.included then on_top = on_top + value end
      return {code = tax.code, rate = tax.rate, amount = value}
    end)
    local sum_of = amount(holder, "total_tax_money", what)
    if sum_of and sum_of ~= own then
      local rest = sum_of - own
      made[#made + 1] = {code = "SQ-TAX", amount = rest}
      if additive or not inclusive then on_top = on_top + rest end
      own = sum_of
    end
    return #made > 0 and made or nil, own, on_top
  end

  local taxed = 0

  -- --- lines --------------------------------------------------------------------------------------
  local function sku_of(line, what)
    local variation = filled(get(line, "catalog_object_id"))
    local sku = variation and get(settings.skus, variation)
    if sku then return sku end
    if settings.missing_sku == "fail" then
      fail(what .. " (\"" .. (get(line, "name") or "?") .. "\") has no SKU: " ..
           (variation and "settings.skus does not know " .. variation or "it is not of the catalogue"))
    end
    if variation then return "square-" .. variation end
    local kind = get(line, "item_type")
    return kind == "GIFT_CARD" and "square-gift-card" or "square-custom-amount"
  end

  -- amount × quantity, of a decimal quantity, rounded half away from zero
  local function times(value, quantity)
    local whole, rest = quantity:match("^(%d+)%.?(%d*)$")
    local scale = 1
    for _ = 1, #rest do scale = scale * 10 end
    return mul_div(value, tonumber(whole .. rest), scale)
  end

  -- Before discounts, modifiers included; older answers leave the sum out.
  local function gross_of(line, quantity, what)
    local gross = amount(line, "gross_sales_money", what)
    if gross then return gross end
    gross = amount(line, "variation_total_price_money", what)
    if not gross then
      local base = amount(line, "base_price_money", what)
      if not base then fail(what .. " has no price") end
      gross = times(base, quantity)
    end
    return gross + sum(get(line, "modifiers") or list(), function(modifier)
      local whole = amount(modifier, "total_price_money", what)
      return whole or times(amount(modifier, "base_price_money", what) or 0, quantity)
    end)
  end

  local function lines_of(items, prefix)
    return each(items, function(line)
      local uid = filled(get(line, "uid"))
      local what = prefix .. " " .. (uid or filled(get(line, "name")) or "?")
      local quantity = decimal(line.quantity)
      if quantity:sub(1, 1) == "-" then fail(what .. " is negative") end
      local discount = amount(line, "total_discount_money", what)
        or sum(get(line, "applied_discounts") or list(), function(d) return amount(d, "applied_money", what) or 0 end)
      local made, tax, on_top = taxes(line, what)
      local net = gross_of(line, quantity, what) - discount
      local own, service = amount(line, "total_money", what), amount(line, "total_service_charge_money", what) or 0
      if own and own ~= net + on_top and own ~= net + on_top + service then
        fail(what .. ": its price less discount and its tax make " .. money_text(net + on_top, currency)
             .. ", its total_money says " .. money_text(own, currency))
      end
      if quantity == "0" then
        if net ~= 0 then fail(what .. " has an amount and no quantity") end
        return nil
      end
      if net < 0 then fail(what .. ": its discount is more than its price") end
      taxed = taxed + tax
      local total = mixed and net + on_top or net
      local before, pieces = total + discount, tonumber(quantity)
      local whole = pieces and math.tointeger(pieces) and before % pieces == 0
      return {
        line_id = uid, sku = sku_of(line, what), name = filled(get(line, "name")), quantity = quantity,
        unit_price = whole and before // pieces or before,
        price_quantity = not whole and quantity or nil,
        discount = discount, total = total, taxes = made,
      }
    end)
  end

  local lines = lines_of(get(doc, "line_items") or list(), "line")
  for i, line in ipairs(lines) do line.line_id = line.line_id or tostring(i) end

  -- --- charges ------------------------------------------------------------------------------------
  local charges = list()
  for i, charge in ipairs(get(doc, "service_charges") or list()) do
    local uid = filled(get(charge, "uid")) or "c" .. i
    local what = "service charge " .. uid
    local made, tax, on_top = taxes(charge, what)
    local net = amount(charge, "applied_money", what) or amount(charge, "amount_money", what)
    if not net then
      local whole = amount(charge, "total_money", what)
      if not whole then fail(what .. " has no amount") end
      net = whole - on_top
    end
    if get(charge, "treatment_type") == "APPORTIONED_TREATMENT" then -- taxed with the lines it is spread over
      made, tax, on_top = nil, 0, 0
    end
    taxed = taxed + tax
    charges[#charges + 1] = {
      line_id = uid, method = code_of(filled(get(charge, "name")) or "", true) or "service_charge",
      total = mixed and net + on_top or net, taxes = made,
    }
  end

  -- --- the sums -----------------------------------------------------------------------------------
  local grand, tip = amount(doc, "total_money"), amount(doc, "total_tip_money") or 0
  local tax = amount(doc, "total_tax_money") or taxed
  local rounding = get(doc, "rounding_adjustment") and amount(doc.rounding_adjustment, "amount_money") or 0
  local parts = sum(lines, function(line) return line.total end) + sum(charges, function(c) return c.total end)
    + (inclusive and 0 or tax)
  local off = grand - parts - rounding
  local tip_inside = tip ~= 0 and off ~= 0 and math.abs(off - tip) <= ROUNDING
  if tip_inside then
    charges[#charges + 1] = {line_id = "tip", method = "tip", total = tip}
    off = off - tip
  end
  if math.abs(off) > ROUNDING then
    fail("total_money says " .. money_text(grand, currency) .. ", its parts make "
         .. money_text(grand - off, currency) .. " " .. currency .. ": differs by " .. off)
  end
  rounding = rounding + off

  -- --- what was paid, and given back --------------------------------------------------------------
  local refs = list()
  local function ref(text)
    text = filled(text)
    for _, known in ipairs(refs) do if known == text then return end end
    if text and #refs < 16 then refs[#refs + 1] = text end
  end
  ref(get(doc, "reference_id"))
  local tenders = each(get(doc, "tenders") or list(), function(tender)
    local kind, card = get(tender, "type") or "OTHER", get(tender, "card_details")
    ref(get(tender, "payment_id"))
    return {
      tender_id = tender.id, kind = TENDER_KINDS[kind] or code_of(kind, true) or "other",
      amount = amount(tender, "amount_money", "tender " .. tender.id), reference = filled(get(tender, "payment_id")),
      state = card and CARD_STATES[get(card, "status") or ""] or "captured",
    }
  end)
  local refunds = each(get(doc, "refunds") or list(), function(refund)
    ref(get(refund, "id"))
    return {refund_id = refund.id, tender_id = get(refund, "tender_id"), reason = filled(get(refund, "reason")),
            state = get(refund, "status"), amount = amount(refund, "amount_money", "refund " .. refund.id)}
  end)
  local returns = each(get(doc, "returns") or list(), function(back)
    ref(get(back, "source_order_id"))
    local sold = taxed
    local made = lines_of(get(back, "return_line_items") or list(), "returned line")
    taxed = sold
    return {source_order_id = get(back, "source_order_id"), lines = made,
            total = get(back, "return_amounts") and amount(back.return_amounts, "total_money") or nil}
  end)

  local place = get(doc, "location_id")
  return {
    kind = "sale", key = id, version = get(doc, "version") and tostring(doc.version) or get(doc, "updated_at"),
    happened_at = get(doc, "closed_at") or get(doc, "created_at"),
    refs = refs, customer_id = filled(get(doc, "customer_id")),
    document = {
      channel = settings.channel, channel_order_id = id,
      placed_at = get(doc, "created_at") and instant(doc.created_at) or nil,
      currency = currency, prices_include_tax = inclusive,
      lines = lines, shipping = #charges > 0 and charges or nil, tenders = #tenders > 0 and tenders or nil,
      totals = {tax = tax, rounding = rounding ~= 0 and rounding or nil, grand = grand},
      ext = {square = {
        state = get(doc, "state"), location_id = place, location = place and get(settings.locations, place),
        reference = filled(get(doc, "reference_id")), source = filled(opt(doc, "source.name")),
        tip = tip ~= 0 and tip or nil, tip_in_total = tip ~= 0 and tip_inside or nil,
        refunds = #refunds > 0 and refunds or nil, returns = #returns > 0 and returns or nil,
      }},
    },
  }
end
