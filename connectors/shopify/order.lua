-- Shopify `orders/create` → canonical order.
--
-- Amounts are Shopify's own, to the minor unit: a line's discount is the sum of what Shopify
-- allocated to it, taxes are its tax lines. What the canonical order keeps in no place of its
-- own (tips, duties, fees) becomes a charge beside shipping, so that every sum still adds up;
-- what can not be told without guessing (a line without SKU) fails with a sentence, and the hub
-- keeps the payload as an exception. See docs/connectors/shopify.md.

-- Gateway names as Shopify sends them, to the hub's kinds of tender. Others keep their name.
local TENDER_KINDS = {
  shopify_payments = "card", bogus = "card", visa = "card", mastercard = "card",
  authorize_net = "card", stripe = "card", braintree = "card", adyen = "card",
  gift_card = "gift_card", paypal = "paypal", klarna = "klarna",
  cash = "cash", manual = "manual", ["cash on delivery (cod)"] = "cash_on_delivery",
  ["bank deposit"] = "bank_transfer", ["money order"] = "money_order",
}

-- financial_status → state of the tender; what is not here has no tender yet (pending).
local TENDER_STATES = {
  authorized = "authorised", partially_paid = "captured", paid = "captured",
  partially_refunded = "captured", refunded = "captured", voided = "voided", expired = "expired",
}

return function(doc, settings)
  local presentment = settings.money == "presentment"
  local currency = presentment and doc.presentment_currency or doc.currency
  local included = doc.taxes_included
  local tax_codes = get(settings, "tax_codes")

  -- The amount of `holder` under `name`, in the money the connector is set to.
  local function amount(holder, name)
    if presentment then
      local set = get(holder, name .. "_set")
      if not set then fail(name .. "_set is missing: presentment money needs Shopify API 2018-10 or later") end
      return money(set.presentment_money.amount, currency)
    end
    return money(holder[name], currency)
  end

  local function allocated(holder)
    local list = get(holder, "discount_allocations")
    if not list or #list == 0 then return nil end
    return sum(list, function(part) return amount(part, "amount") end)
  end

  local function taxes(holder)
    local list = get(holder, "tax_lines")
    if not list or #list == 0 then return nil end
    return each(list, function(tax)
      -- marketplaces that owe a tax themselves tell neither its rate nor always its title
      local title, rate = filled(get(tax, "title")) or "TAX", get(tax, "rate")
      local code = tax_codes and get(tax_codes, title) or code_of(title)
      if not code then fail("tax \"" .. title .. "\" has no code: add it to tax_codes of the connector") end
      return {code = code, rate = rate and decimal(rate, 9), amount = amount(tax, "price")}
    end)
  end

  local charges, discounts, taxed = list(), 0, 0

  local function add_charge(id, method, total, tax)
    charges[#charges + 1] = {line_id = id, method = method, total = total, taxes = tax}
  end

  local function sku_of(line)
    local sku = filled(get(line, "sku"))
    if sku then return sku end
    local variant = get(line, "variant_id")
    if settings.missing_sku == "variant" and variant then return "shopify-variant-" .. variant end
    fail("line " .. line.id .. " (\"" .. (get(line, "title") or "?") .. "\") has no SKU in Shopify")
  end

  local lines = each(doc.line_items, function(line)
    local quantity, price = line.quantity, amount(line, "price")
    if quantity == 0 then return nil end -- taken out of the order before it was placed
    local discount = allocated(line)
    if not discount then
      -- before API 2018-07 there were no allocations; in shop money alone
      local whole = get(line, "total_discount")
      discount = whole and not presentment and money(whole, currency) or 0
    end
    discounts = discounts + discount
    local tax = taxes(line)
    if tax then taxed = taxed + 1 end
    if get(line, "tip") then
      add_charge(tostring(line.id), "tip", quantity * price - discount, tax)
      return nil
    end
    return {
      line_id = tostring(line.id),
      sku = sku_of(line),
      name = filled(get(line, "title")),
      quantity = decimal(quantity),
      unit_price = price,
      discount = discount,
      total = quantity * price - discount,
      taxes = tax,
    }
  end)
  if #lines == 0 then fail("the order has no lines that could be delivered") end

  for i, shipping in ipairs(get(doc, "shipping_lines") or list()) do
    local off = allocated(shipping) or 0
    discounts = discounts + off
    local tax = taxes(shipping)
    if tax then taxed = taxed + 1 end
    local id = get(shipping, "id")
    local method = filled(get(shipping, "code")) or filled(get(shipping, "title")) or "shipping"
    add_charge(id and tostring(id) or "s" .. i, code_of(method, true) or "shipping",
               amount(shipping, "price") - off, tax)
  end

  -- A discount of the whole order that Shopify did not allocate: by the lines' amounts, the
  -- last units to the largest lines first, so that the parts are exactly the whole.
  local whole = get(doc, "total_discounts") and amount(doc, "total_discounts") or 0
  local rest = whole - discounts
  if rest > 0 then
    local base = sum(lines, function(line) return line.total end)
    if base < rest then fail("the discount of the order is larger than its lines") end
    local left = rest
    for _, line in ipairs(lines) do
      local part = rest * line.total // base
      line.discount, line.total, left = line.discount + part, line.total - part, left - part
    end
    local largest = {}
    for i, line in ipairs(lines) do largest[i] = line end
    table.sort(largest, function(a, b)
      if a.total ~= b.total then return a.total > b.total end
      return a.line_id < b.line_id
    end)
    local i = 1
    while left > 0 do
      local line = largest[i]
      line.discount, line.total, left = line.discount + 1, line.total - 1, left - 1
      i = i % #largest + 1
    end
  end

  -- Duties and fees of the whole order.
  for _, kind in ipairs({"duties", "additional_fees"}) do
    local set = get(doc, "original_total_" .. kind .. "_set")
    if set then
      local part = presentment and set.presentment_money or set.shop_money
      local total = money(part.amount, currency)
      if total ~= 0 then add_charge(kind, kind, total) end
    end
  end
  local tip = get(doc, "total_tip_received")
  if tip and not presentment then
    tip = money(tip, currency)
    for _, charge in ipairs(charges) do
      if charge.method == "tip" then tip = tip - charge.total end
    end
    if tip > 0 then add_charge("tip", "tip", tip) end
  end

  -- Before there were taxes by line they were told for the order alone: then they stand in its totals
  -- and on no line, because nothing says whose they are.
  local order_taxes, order_tax = get(doc, "tax_lines"), nil
  if taxed == 0 and order_taxes and #order_taxes > 0 then
    order_tax = sum(order_taxes, function(tax) return amount(tax, "price") end)
    if order_tax == 0 then order_tax = nil end
  end

  local function address(from)
    if not from then return nil end
    local street = list()
    for _, member in ipairs({"address1", "address2"}) do
      local part = filled(get(from, member))
      if part then street[#street + 1] = part end
    end
    return {
      name = filled(get(from, "name")), company = filled(get(from, "company")), street = street,
      postal_code = filled(get(from, "zip")), city = filled(get(from, "city")),
      region = filled(get(from, "province_code")), country = filled(get(from, "country_code")),
      phone = filled(get(from, "phone")),
    }
  end

  local function customer()
    local from = get(doc, "customer")
    local email = filled(get(doc, "email")) or filled(get(doc, "contact_email"))
    if not from then return email and {email = email} or nil end
    local first, last = get(from, "first_name") or "", get(from, "last_name") or ""
    local id = get(from, "id")
    return {
      customer_id = id and tostring(id), email = email or filled(get(from, "email")),
      name = filled(first .. " " .. last),
      phone = filled(get(from, "phone")) or filled(get(doc, "phone")),
    }
  end

  local grand = amount(doc, "total_price")

  local function kind_of(gateway)
    return TENDER_KINDS[gateway:lower()] or code_of(gateway, true) or "other"
  end

  -- The payments themselves where they came along (API orders); else one tender of the whole,
  -- because the order alone does not say how it was split.
  local function tenders()
    local made = each(get(doc, "transactions"), function(tx)
      if tx.status ~= "success" then return nil end
      local state = tx.kind == "authorization" and "authorised"
        or (tx.kind == "sale" or tx.kind == "capture") and "captured"
      if not state then return nil end
      return {
        tender_id = tostring(tx.id), kind = kind_of(get(tx, "gateway") or "other"),
        amount = money(tx.amount, currency), reference = filled(get(tx, "authorization")), state = state,
      }
    end)
    if #made > 0 and not presentment then return made end
    local status = get(doc, "financial_status")
    local state = status and TENDER_STATES[status]
    if not state then return nil end
    local names = get(doc, "payment_gateway_names")
    local gateways = list()
    for _, name in ipairs(names or list()) do
      if name ~= "" then gateways[#gateways + 1] = kind_of(name) end
    end
    local kind = gateways[1] or kind_of(filled(get(doc, "gateway")) or "other")
    for _, other in ipairs(gateways) do
      if other ~= kind then kind = "mixed" end
    end
    local paid = grand
    if status == "partially_paid" then
      paid = grand - amount(doc, "total_outstanding")
    end
    return {{tender_id = "t1", kind = kind, amount = paid, state = state}}
  end

  return {
    channel = settings.channel,
    channel_order_id = tostring(doc.id),
    placed_at = instant(get(doc, "processed_at") or doc.created_at),
    currency = currency,
    prices_include_tax = included,
    customer = customer(),
    ship_to = address(get(doc, "shipping_address")),
    bill_to = address(get(doc, "billing_address")),
    lines = lines,
    shipping = charges,
    tenders = tenders(),
    totals = {tax = order_tax, grand = grand},
    ext = {
      shopify = {
        order_name = get(doc, "name"), order_number = get(doc, "order_number"),
        financial_status = get(doc, "financial_status"), source_name = get(doc, "source_name"),
        tags = filled(get(doc, "tags")), test = get(doc, "test"),
      },
    },
  }
end
