-- WooCommerce `order.created`, `order.updated` → canonical order, from the first paid status on.
--
-- The same order comes again with every change of its status. So nothing stands in the answer that
-- changes while the order lives (status, dates of payment and completion, refunds): the next
-- message is the same order to the hub, unless what was sold, or where it goes, is another.
--
-- WooCommerce tells all amounts without tax, and the tax beside them, whatever the shop's prices are.
-- Where prices include tax the two are added here. See docs/connectors/woocommerce.md.

-- Payment methods to the hub's kinds of tender. Others keep their name.
local TENDER_KINDS = {
  bacs = "bank_transfer", cheque = "cheque", cod = "cash_on_delivery",
  paypal = "paypal", ["ppcp-gateway"] = "paypal", klarna_payments = "klarna", kco = "klarna",
  stripe = "card", stripe_cc = "card", woocommerce_payments = "card", square_credit_card = "card",
}

return function(doc, settings)
  if get(doc, "order") then
    fail("this is the legacy API: set \"API Version\" of the webhook to WP REST API Integration v3")
  end
  if not doc.status then fail("the order has no status") end
  if not listed(settings.paid_statuses, doc.status) then
    return {nothing = "order " .. doc.id .. " is not paid: " .. doc.status}
  end
  local currency = doc.currency
  local included = get(doc, "prices_include_tax") == true
  local places = #(money_text(0, currency):match("%.(%d+)") or "")
  local tax_codes = get(settings, "tax_codes")

  -- Parts of the order may carry more digits than the currency has; its totals may not.
  local function rounded(value)
    if value == nil or value == "" then return 0 end
    return money(decimal(value, places), currency)
  end

  -- The rates of the order, by id.
  local rates, only = {}, nil
  for _, tax in ipairs(get(doc, "tax_lines") or list()) do
    local code, label = filled(get(tax, "rate_code")), filled(get(tax, "label"))
    local percent = get(tax, "rate_percent")
    local rate = {
      code = tax_codes and (code and get(tax_codes, code) or label and get(tax_codes, label))
        or code and code_of(code) or label and code_of(label) or "WC-RATE-" .. tax.rate_id,
      rate = percent and rate_of(percent),
      compound = get(tax, "compound") == true,
    }
    rates[tostring(tax.rate_id)] = rate
    only = #get(doc, "tax_lines") == 1 and rate or nil
  end

  local taxed, rates_known = 0, true

  local function tax_line(rate, code, net, amount)
    local known = rate and rate.rate and not rate.compound
    if not known then rates_known = false end
    return {code = rate and rate.code or code, rate = rate and rate.rate or nil,
            base = known and net or nil, amount = amount}
  end

  -- The tax lines of a line of any kind: their sum is exactly its total_tax. The parts carry more
  -- digits than the sum, so what rounding leaves goes to the largest.
  local function taxes(holder, net, total, what)
    local largest, rest = nil, total
    local made = each(get(holder, "taxes") or list(), function(part)
      local said = get(part, "total")
      if said == nil or said == "" then return nil end -- this rate does not apply to the line
      local id = tostring(part.id)
      local line = tax_line(rates[id], "WC-RATE-" .. id, net, rounded(said))
      rest = rest - line.amount
      if not largest or math.abs(line.amount) > math.abs(largest.amount) then largest = line end
      return line
    end)
    if rest ~= 0 and not largest then
      made[1] = tax_line(only, "WC-TAX", net, total)
    elseif rest ~= 0 then
      if math.abs(rest) > #made then
        fail(what .. ": its taxes make " .. money_text(total - rest, currency) .. ", total_tax says "
             .. money_text(total, currency))
      end
      largest.amount = largest.amount + rest
    end
    taxed = taxed + total
    if #made > 0 then return made end
  end

  -- Net, tax, and what the canonical order counts: with tax where prices include it.
  local function total_of(holder, name)
    local net, tax = rounded(holder[name]), get(holder, name .. "_tax")
    if tax then
      tax = rounded(tax)
    else
      tax = sum(get(holder, "taxes") or list(), function(part) return rounded(get(part, name)) end)
    end
    return net, tax, included and net + tax or net
  end

  local function sku_of(line)
    local sku = filled(get(line, "sku"))
    if sku then return sku end
    local variant = get(line, "variation_id") or 0
    if variant == 0 then variant = get(line, "product_id") or 0 end
    if settings.missing_sku == "variant" and variant ~= 0 then return "woocommerce-variant-" .. variant end
    fail("line " .. line.id .. " (\"" .. (get(line, "name") or "?") .. "\") has no SKU in WooCommerce")
  end

  local lines = each(doc.line_items, function(line)
    local net, tax, total = total_of(line, "total")
    local _, _, before = total_of(line, get(line, "subtotal") and "subtotal" or "total")
    local what = "line " .. line.id
    local quantity = decimal(line.quantity)
    if quantity:sub(1, 1) == "-" or total < 0 then fail(what .. " is negative") end
    if quantity == "0" then
      if total ~= 0 then fail(what .. " has an amount and no quantity") end
      return nil
    end
    if before < total then before = total end -- made dearer by hand: no discount
    local whole = type(line.quantity) == "number" and before % line.quantity == 0
    return {
      line_id = tostring(line.id),
      sku = sku_of(line),
      name = filled(get(line, "name")),
      quantity = quantity,
      -- WooCommerce counts by line: a price that is no whole amount is that of all pieces
      unit_price = whole and before // line.quantity or before,
      price_quantity = not whole and quantity or nil,
      discount = before - total,
      total = total,
      taxes = taxes(line, net, tax, what),
    }
  end)
  if #lines == 0 then fail("the order has no lines that could be delivered") end

  -- A negative fee is a discount of the order: by the lines' amounts, the last units to the largest
  -- line, so that the parts are exactly the whole. Its tax goes to the largest line.
  local function take_off(whole, tax)
    local base = sum(lines, function(line) return line.total end)
    if base < whole then fail("the negative fees of the order are more than its lines") end
    local left, largest = whole, {}
    for i, line in ipairs(lines) do
      local part = mul_div(whole, line.total, base)
      if part > left then part = left end
      line.discount, line.total, left = line.discount + part, line.total - part, left - part
      largest[i] = line
    end
    table.sort(largest, function(a, b)
      if a.total ~= b.total then return a.total > b.total end
      return a.line_id < b.line_id
    end)
    for _, line in ipairs(largest) do
      local part = line.total < left and line.total or left
      line.discount, line.total, left = line.discount + part, line.total - part, left - part
    end
    local own = largest[1].taxes or list()
    for _, one in ipairs(tax or list()) do own[#own + 1] = one end
    if #own > 0 then largest[1].taxes = own end
  end

  local charges = list()

  local function add_charges(holders, kind, method_of)
    for i, holder in ipairs(holders or list()) do
      local net, tax, total = total_of(holder, "total")
      local id = get(holder, "id")
      local made = taxes(holder, net, tax, kind .. " line " .. (id or i))
      if total < 0 then
        take_off(-total, made)
      else
        charges[#charges + 1] = {line_id = id and tostring(id) or kind .. i, method = method_of(holder) or kind,
                                 total = total, taxes = made}
      end
    end
  end

  add_charges(get(doc, "shipping_lines"), "shipping", function(holder)
    return code_of(filled(get(holder, "method_id")) or filled(get(holder, "method_title")) or "", true)
  end)
  add_charges(get(doc, "fee_lines"), "fee", function(holder)
    return code_of(filled(get(holder, "name")) or "", true)
  end)

  local function address(from)
    if not from then return nil end
    local street = list()
    for _, member in ipairs({"address_1", "address_2"}) do
      local part = filled(get(from, member))
      if part then street[#street + 1] = part end
    end
    local made = {
      name = filled((get(from, "first_name") or "") .. " " .. (get(from, "last_name") or "")),
      company = filled(get(from, "company")), street = #street > 0 and street or nil,
      postal_code = filled(get(from, "postcode")), city = filled(get(from, "city")),
      region = filled(get(from, "state")), country = filled(get(from, "country")),
      phone = filled(get(from, "phone")),
    }
    for _ in pairs(made) do return made end
  end

  local function customer()
    local from = get(doc, "billing")
    local id = get(doc, "customer_id") or 0
    local email = from and filled(get(from, "email"))
    if id == 0 and not email then return nil end
    local bill = address(from) or {}
    return {customer_id = id ~= 0 and tostring(id) or nil, email = email, name = bill.name, phone = bill.phone}
  end

  local grand = money(doc.total, currency)

  local function tenders()
    local method = filled(get(doc, "payment_method"))
    if not method and grand == 0 then return nil end
    local later = method and listed(settings.paid_on_delivery, method)
    return {{
      tender_id = "t1", kind = method and (TENDER_KINDS[method] or code_of(method, true)) or "other", amount = grand,
      reference = not later and filled(get(doc, "transaction_id")) or nil, state = not later and "captured" or nil,
    }}
  end

  local total_tax = get(doc, "total_tax")
  total_tax = total_tax and money(total_tax, currency)
  -- WooCommerce adds up first and rounds then: by lines the tax may be some units off.
  local of_document = total_tax and total_tax ~= taxed and rates_known

  local coupons = each(get(doc, "coupon_lines") or list(), function(coupon) return filled(get(coupon, "code")) end)

  return {
    channel = settings.channel,
    channel_order_id = tostring(doc.id),
    placed_at = instant(doc.date_created_gmt, "Z"),
    currency = currency,
    prices_include_tax = included,
    tax_rounding = of_document and "document" or nil,
    customer = customer(),
    ship_to = address(get(doc, "shipping")),
    bill_to = address(get(doc, "billing")),
    lines = lines,
    shipping = charges,
    tenders = tenders(),
    totals = {tax = total_tax, grand = grand},
    ext = {
      woocommerce = {
        order_number = get(doc, "number"), created_via = filled(get(doc, "created_via")),
        coupons = #coupons > 0 and coupons or nil,
      },
    },
  }
end
