-- An order of Vendure, as its Admin API and the hub's plug-in tell it → canonical order, once it is placed.
--
-- The same order comes by message and by poll, and may have got further in between. So nothing stands in
-- the answer that changes while the order lives (state, states of payments, fulfilments): the second
-- time it is the same order to the hub, unless what was sold, or where it goes, is another.
--
-- Amounts with tax are taken: Vendure adds them up to what the customer pays, whether a channel's
-- prices include tax or not. See docs/connectors/vendure.md.

-- Payments that never were, or are not any more.
local NO_PAYMENT = {Created = true, Declined = true, Error = true, Cancelled = true}

-- A percentage as a whole number of ten-millionths: to divide a tax by rates.
local function weight_of(percent)
  local whole, rest = decimal(percent, 7):match("^(%d+)%.?(%d*)$")
  if not whole then return 0 end
  return math.tointeger(tonumber(whole .. rest .. ("0"):rep(7 - #rest)))
end

return function(doc, settings)
  if not get(doc, "orderPlacedAt") then
    return {nothing = "order " .. doc.code .. " is not placed yet: " .. doc.state}
  end
  if doc.state == "Cancelled" then return {nothing = "order " .. doc.code .. " is cancelled"} end
  if get(doc, "type") == "Seller" then
    return {nothing = "order " .. doc.code .. " is a seller's part of an order that comes by itself"}
  end

  local currency = doc.currencyCode
  local digits = #(money_text(0, currency):match("%.(%d+)") or "")
  local more = digits - settings.money_precision
  local up = math.tointeger(tonumber("1" .. ("0"):rep(math.max(more, 0))))
  local down = math.tointeger(tonumber("1" .. ("0"):rep(math.max(-more, 0))))

  -- Vendure counts every currency in units of 10^-money_precision; a part of the order may have digits
  -- that the currency has not.
  local function rounded(amount)
    return mul_div(math.tointeger(tonumber(decimal(amount, 0))), up, down)
  end
  -- What is paid may not, unless the settings say so.
  local function exact(amount, what)
    local minor = rounded(amount)
    if settings.fractions ~= "round" and decimal(amount) ~= decimal(mul_div(minor, down, up)) then
      fail(what .. " is " .. amount .. " with " .. settings.money_precision .. " decimals, and " .. currency .. " has "
           .. digits .. ": see money_precision and fractions in the settings")
    end
    return minor
  end

  local grand = exact(doc.totalWithTax, "the total")

  -- Tax codes: as set for the description, else made of it.
  local tax_codes = get(settings, "tax_codes")
  local function tax_code(description, otherwise)
    description = filled(description)
    return description and tax_codes and get(tax_codes, description) or otherwise or code_of(description)
  end

  local rates_known, taxed, by_rate = true, 0, {}

  -- The tax of a line of any kind: exactly what lies between its two amounts, divided by the rates
  -- where there are several, what rounding leaves to the largest.
  local function taxes(rates, net, total)
    local amount, weight = total - net, sum(rates, function(rate) return weight_of(rate.taxRate) end)
    local rest, largest = amount, nil
    taxed = taxed + amount
    local made = each(rates, function(rate)
      local own = weight_of(rate.taxRate)
      local line = {
        code = tax_code(get(rate, "description")) or "VENDURE-TAX", rate = rate_of(rate.taxRate), base = net,
        amount = #rates == 1 and amount or weight == 0 and 0 or mul_div(amount, own, weight),
      }
      rest = rest - line.amount
      by_rate[decimal(rate.taxRate)] = by_rate[decimal(rate.taxRate)] or line.code
      if not largest or math.abs(line.amount) > math.abs(largest.amount) then largest = line end
      return line
    end)
    if largest then
      largest.amount = largest.amount + rest
    elseif amount ~= 0 then
      rates_known = false
      made[1] = {code = "VENDURE-TAX", amount = amount}
    end
    if #made > 0 then return made end
  end

  local lines = each(doc.lines, function(line)
    if line.quantity == 0 then return nil end -- cancelled
    local variant = line.productVariant
    local sku = filled(get(variant, "sku"))
    if not sku then fail("line " .. line.id .. " (\"" .. (get(variant, "name") or "?") .. "\") has no SKU") end
    local net, total = rounded(line.proratedLinePrice), rounded(line.proratedLinePriceWithTax)
    local before = rounded(line.linePriceWithTax)
    if line.quantity < 0 or total < 0 then fail("line " .. line.id .. " is negative") end
    if before < total then before = total end -- made dearer: no discount
    local whole = before % line.quantity == 0
    return {
      line_id = tostring(line.id),
      sku = sku,
      name = filled(get(variant, "name")),
      quantity = decimal(line.quantity),
      -- a channel with net prices: with tax, a piece need not cost a whole amount
      unit_price = whole and before // line.quantity or before,
      price_quantity = not whole and decimal(line.quantity) or nil,
      discount = before - total,
      total = total,
      taxes = taxes(line.taxLines, net, total),
    }
  end)
  if #lines == 0 then fail("the order has no lines that could be delivered") end

  -- A surcharge below zero is a discount of the order: by the lines' amounts, the last units to the
  -- largest, so that the parts are exactly the whole. Its tax goes to the largest line.
  local function take_off(whole, tax)
    local base = sum(lines, function(line) return line.total end)
    if base < whole then fail("the negative surcharges of the order are more than its lines") end
    local left, largest = whole, {}
    for i, line in ipairs(lines) do
      local part = math.min(mul_div(whole, line.total, base), left)
      line.discount, line.total, left = line.discount + part, line.total - part, left - part
      largest[i] = line
    end
    table.sort(largest, function(a, b)
      if a.total ~= b.total then return a.total > b.total end
      return a.line_id < b.line_id
    end)
    for _, line in ipairs(largest) do
      local part = math.min(line.total, left)
      line.discount, line.total, left = line.discount + part, line.total - part, left - part
    end
    local own = largest[1].taxes or list()
    for _, one in ipairs(tax or list()) do own[#own + 1] = one end
    if #own > 0 then largest[1].taxes = own end
  end

  local charges, known = list(), {}
  for _, line in ipairs(doc.lines) do
    for _, rate in ipairs(line.taxLines) do known[get(rate, "description") or ""] = true end
  end
  for _, one in ipairs(get(doc, "surcharges") or list()) do
    local rates = get(one, "taxLines") or list()
    for _, rate in ipairs(rates) do known[get(rate, "description") or ""] = true end
    local net, total = rounded(one.price), rounded(one.priceWithTax)
    local made = taxes(rates, net, total)
    if total < 0 then
      take_off(-total, made)
    else
      charges[#charges + 1] = {
        line_id = "surcharge-" .. one.id, total = total, taxes = made,
        method = code_of(filled(get(one, "sku")) or get(one, "description"), true) or "surcharge",
      }
    end
  end

  -- Shipping does not say its rate: it is the one of the summary that no line has, else the only one
  -- that makes this tax of this amount.
  local function shipping_rate(net, amount)
    local alone, fits
    for _, tax in ipairs(get(doc, "taxSummary") or list()) do
      local near = mul_div(net, weight_of(tax.taxRate), 1000000000)
      if math.abs(near - amount) <= 1 then
        if not known[get(tax, "description") or ""] then
          if alone and alone.taxRate ~= tax.taxRate then return nil end
          alone = tax
        end
        if fits and fits.taxRate ~= tax.taxRate then fits = nil else fits = tax end
      end
    end
    return alone or fits
  end

  for _, one in ipairs(get(doc, "shippingLines") or list()) do
    local net, total = rounded(one.discountedPrice), rounded(one.discountedPriceWithTax)
    local amount, rate = total - net, shipping_rate(net, total - net)
    if amount ~= 0 and not rate then rates_known = false end
    taxed = taxed + amount
    local made
    if amount ~= 0 then
      made = {{
        code = rate and tax_code(get(rate, "description"), by_rate[decimal(rate.taxRate)]) or "VENDURE-TAX",
        rate = rate and rate_of(rate.taxRate) or nil, base = rate and net or nil, amount = amount,
      }}
    end
    local method = get(one, "shippingMethod")
    charges[#charges + 1] = {
      line_id = tostring(one.id), total = total, taxes = made,
      method = method and code_of(filled(get(method, "code")) or get(method, "name"), true) or "shipping",
    }
  end

  local function address(from)
    if not from then return nil end
    local street = list()
    for _, member in ipairs({"streetLine1", "streetLine2"}) do
      local part = filled(get(from, member))
      if part then street[#street + 1] = part end
    end
    local made = {
      name = filled(get(from, "fullName")), company = filled(get(from, "company")),
      street = #street > 0 and street or nil, postal_code = filled(get(from, "postalCode")),
      city = filled(get(from, "city")), region = filled(get(from, "province")),
      country = filled(get(from, "countryCode")), phone = filled(get(from, "phoneNumber")),
    }
    for _ in pairs(made) do return made end
  end

  local function customer()
    local from = get(doc, "customer")
    if not from then return nil end
    return {
      customer_id = get(from, "user") and tostring(from.id) or nil, -- a guest has no account
      email = filled(get(from, "emailAddress")), phone = filled(get(from, "phoneNumber")),
      name = filled((get(from, "firstName") or "") .. " " .. (get(from, "lastName") or "")),
    }
  end

  local kinds = get(settings, "tenders")
  local tenders = each(get(doc, "payments") or list(), function(payment)
    if NO_PAYMENT[payment.state] then return nil end
    return {
      tender_id = tostring(payment.id), amount = exact(payment.amount, "the payment " .. payment.id),
      kind = kinds and get(kinds, payment.method) or code_of(payment.method, true) or "other",
      reference = filled(get(payment, "transactionId")),
    }
  end)

  local channel = settings.channel
  local channels = get(settings, "channels")
  for _, of in ipairs(get(doc, "channels") or list()) do
    local own = channels and get(channels, of.code)
    if own then channel = own break end
  end

  -- A shop may round tax once for the order: by lines it is some units off then.
  local tax = rounded(doc.totalWithTax) - rounded(doc.total)
  local of_document = tax ~= taxed and more >= 0 and rates_known
  local coupons = get(doc, "couponCodes") or list()

  return {
    channel = channel,
    channel_order_id = doc.code,
    placed_at = instant(doc.orderPlacedAt),
    currency = currency,
    prices_include_tax = true,
    tax_rounding = of_document and "document" or nil,
    customer = customer(),
    ship_to = address(get(doc, "shippingAddress")),
    bill_to = address(get(doc, "billingAddress")),
    lines = lines,
    shipping = charges,
    tenders = #tenders > 0 and tenders or nil,
    totals = {tax = more >= 0 and tax or nil, grand = grand},
    ext = {vendure = {order_id = tostring(doc.id), coupons = #coupons > 0 and coupons or nil}},
  }
end
