-- order.captured → party, sale and posted invoice in Tryton, call by call.
--
-- The sale carries the hub's order id as its reference: that is what is looked for before anything
-- is made. Every call after it either changes nothing when it is made again (quote, confirm, post)
-- or is made only where its work is not there yet. Prices are posted without tax, tax amounts are
-- those of the order: where Tryton has computed others, they are written over before the invoice is
-- posted, and an invoice that still differs from the order by a cent is held, not posted.

return function(doc, settings)
  local answers, event = doc.answers, doc.event
  local order, id = event.data.order, event.data.order_id
  local context = {company = settings.company, language = "en"}

  local function first(found) return #found > 0 and found[1] or nil end
  local function dec(text) return {__class__ = "Decimal", decimal = text} end
  local function money_dec(minor) return dec(money_text(minor, order.currency)) end

  -- What a call has answered so far; a refusal of Tryton's ends the script.
  local refused
  local function result(name)
    local answer = opt(answers, name)
    if not answer then return nil, false end
    local err = opt(answer, "body.error")
    if err then
      local kind, words = tostring(err[1]), opt(err, "2.1") or opt(err, "2")
      if type(words) ~= "string" then words = kind end
      if kind == "UserError" or kind == "UserWarning" then
        refused = refused or {hold = "Tryton: " .. words}
      elseif kind == "ConcurrencyException" or kind:find("lock", 1, true) or
             kind:find("serialize", 1, true) or kind:find("Operational", 1, true) then
        refused = refused or {again = "Tryton: " .. kind}
      else
        refused = refused or {hold = "Tryton: " .. kind}
      end
    end
    return opt(answer, "body.result"), true
  end

  local function rpc(name, method, params, changes)
    return {call = name, changes = changes, body = {id = 1, method = "model." .. method, params = params}}
  end

  if order.currency ~= settings.currency then
    return {hold = "the company's books are in " .. settings.currency .. ", the order is in " .. order.currency}
  end

  -- 1. is the sale there already?
  local sale
  if doc.suspect then
    local found, asked = result("find_sale")
    if refused then return refused end
    if not asked then
      return rpc("find_sale", "sale.sale.search",
                 {list {list {"reference", "=", id}}, 0, 2, list {list {"id", "ASC"}}, context}, false)
    end
    if #found > 1 then return {hold = "Tryton has more than one sale with the reference " .. id} end
    sale = first(found)
  end

  -- 2. the products, by their codes
  local codes, seen = list {}, {}
  for _, line in ipairs(order.lines) do
    if not seen[line.sku] then seen[line.sku] = true; table.insert(codes, line.sku) end
  end
  local shipping = opt(order, "shipping") or list {}
  if #shipping > 0 then table.insert(codes, settings.shipping_product) end

  if not sale then
    local products, asked = result("products")
    if refused then return refused end
    if not asked then
      return rpc("products", "product.product.search_read",
                 {list {list {"code", "in", codes}}, 0, 6000, list {list {"id", "ASC"}}, list {"code"}, context}, false)
    end
    local product_of = {}
    for _, product in ipairs(products) do product_of[product.code] = product.id end
    for _, code in ipairs(codes) do
      if not product_of[code] then return {hold = "Tryton has no product with the code " .. code} end
    end

    -- 3. the customer, by code; made where it is not there
    local customer = opt(order, "customer")
    local code = customer and opt(customer, "customer_id") or settings.walk_in
    local party, party_asked = result("party")
    if refused then return refused end
    if not party_asked then
      return rpc("party", "party.party.search_read",
                 {list {list {"code", "=", code}}, 0, 2, list {list {"id", "ASC"}},
                  list {"code", "addresses"}, context}, false)
    end
    local who = first(party)
    if not who then
      local made, made_asked = result("make_party")
      -- Another order of the same customer made it at the same time: the next attempt finds it.
      if refused and refused.hold and refused.hold:find("unique", 1, true) then return {again = refused.hold} end
      if refused then return refused end
      if not made_asked then
        local to = opt(order, "ship_to")
        local street = {}
        for _, line in ipairs(opt(to, "street") or list {}) do table.insert(street, line) end
        local address = {
          street = table.concat(street, "\n"), postal_code = opt(to, "postal_code"), city = opt(to, "city"),
        }
        local mail = customer and opt(customer, "email")
        return rpc("make_party", "party.party.create", {list {{
          name = customer and opt(customer, "name") or code, code = code,
          addresses = list {list {"create", list {address}}},
          contact_mechanisms = mail and list {list {"create", list {{type = "email", value = mail}}}} or nil,
        }}, context})
      end
      local read, read_asked = result("read_party")
      if refused then return refused end
      if not read_asked then
        return rpc("read_party", "party.party.read", {made, list {"code", "addresses"}, context}, false)
      end
      who = read[1]
    end
    local address = first(who.addresses)
    if not address then return {hold = "the party " .. code .. " has no address in Tryton"} end

    -- 4. the sale
    local fault
    local function tax_ids(holder)
      local ids = list {}
      for _, tax in ipairs(opt(holder, "taxes") or list {}) do
        local tax_id = get(settings.taxes, tax.code)
        if not tax_id then fault = {hold = "no tax of Tryton is set for the code " .. tax.code} end
        table.insert(ids, tax_id)
      end
      return ids
    end
    local function net(holder)
      local amount = holder.total
      if opt(order, "prices_include_tax") then
        for _, tax in ipairs(opt(holder, "taxes") or list {}) do amount = amount - tax.amount end
      end
      return amount
    end
    local lines = list {}
    local function add(code, quantity, amount, taxes, words)
      table.insert(lines, {
        type = "line", product = product_of[code], quantity = number(quantity), unit = settings.unit,
        unit_price = money_dec(amount), taxes = list {list {"add", taxes}}, description = words,
      })
    end
    -- A price of its own for the units that carry the cents that do not divide: exact for any amount.
    local function add_exactly(code, quantity, amount, taxes, words)
      local units = math.tointeger(tonumber(quantity))
      if not units then
        fault = {hold = "the quantity " .. quantity .. " of " .. code .. " is no whole number of units"}
        return
      end
      local each_one = amount // units
      local more = amount - each_one * units
      if units > more then add(code, tostring(units - more), each_one, taxes, words) end
      if more > 0 then add(code, tostring(more), each_one + 1, taxes, words) end
    end
    for _, line in ipairs(order.lines) do
      add_exactly(line.sku, line.quantity, net(line), tax_ids(line), opt(line, "name") or line.sku)
    end
    for _, charge in ipairs(shipping) do
      add_exactly(settings.shipping_product, "1", net(charge), tax_ids(charge), opt(charge, "method") or "shipping")
    end
    if opt(order, "totals.rounding", 0) ~= 0 then
      fault = {hold = "the order carries a rounding of " .. money_text(order.totals.rounding, order.currency) ..
                      " " .. order.currency .. ", for which no account is set"}
    end
    if fault then return fault end

    local made, made_asked = result("make_sale")
    if refused then return refused end
    if not made_asked then
      local day = order.placed_at
      return rpc("make_sale", "sale.sale.create", {list {{
        party = who.id, invoice_address = address, shipment_address = address, reference = id,
        description = order.channel .. " " .. order.channel_order_id,
        sale_date = {__class__ = "date", year = tonumber(day:sub(1, 4)), month = tonumber(day:sub(6, 7)),
                     day = tonumber(day:sub(9, 10))},
        warehouse = settings.warehouse, currency = settings.currency_id, payment_term = settings.payment_term,
        invoice_method = "order", shipment_method = "order",
        lines = list {list {"create", lines}},
      }}, context})
    end
    sale = made[1]
  end

  -- 5. quoted, confirmed (which makes the invoice), read
  local state, state_asked = result("read_sale")
  if refused then return refused end
  local _, confirmed = result("confirm")
  if not confirmed then
    if doc.suspect and not opt(answers, "make_sale") and not state_asked then
      return rpc("read_sale", "sale.sale.read", {list {sale}, list {"state", "number", "invoices"}, context}, false)
    end
    local at = state and state[1].state or "draft"
    if at == "cancelled" then return {hold = "the sale is cancelled in Tryton"} end
    if at == "draft" then
      local _, quoted = result("quote")
      if refused then return refused end
      if not quoted then return rpc("quote", "sale.sale.quote", {list {sale}, context}) end
    end
    if at == "draft" or at == "quotation" or at == "confirmed" then
      return rpc("confirm", "sale.sale.confirm", {list {sale}, context})
    end
  end
  if refused then return refused end
  local after, after_asked = result("sale")
  if refused then return refused end
  if not after_asked then
    return rpc("sale", "sale.sale.read", {list {sale}, list {"state", "number", "invoices"}, context}, false)
  end
  -- Tryton confirms first and makes the invoice behind it: a server that ended in between left it at that.
  if after[1].state == "confirmed" then
    local _, processed = result("process")
    if refused then return refused end
    if not processed then return rpc("process", "sale.sale.process", {list {sale}, context}) end
    local again, again_asked = result("sale_processed")
    if refused then return refused end
    if not again_asked then
      return rpc("sale_processed", "sale.sale.read",
                 {list {sale}, list {"state", "number", "invoices"}, context}, false)
    end
    after = again
  end
  local invoice = first(after[1].invoices)
  if not invoice then return {again = "Tryton has made no invoice for the sale yet"} end

  -- 6. the invoice to the cent, then posted
  local read, read_asked = result("invoice")
  if refused then return refused end
  if not read_asked then
    return rpc("invoice", "account.invoice.read",
               {list {invoice}, list {"state", "number", "total_amount", "taxes"}, context}, false)
  end
  local number_of = after[1].number
  if read[1].state == "posted" or read[1].state == "paid" then return {done = true, reference = number_of} end

  local taxes, taxes_asked = result("invoice_taxes")
  if refused then return refused end
  if not taxes_asked and #read[1].taxes > 0 then
    return rpc("invoice_taxes", "account.invoice.tax.read", {read[1].taxes, list {"tax", "amount"}, context}, false)
  end
  local due = {}
  local function count(holder)
    for _, tax in ipairs(opt(holder, "taxes") or list {}) do
      local key = tostring(get(settings.taxes, tax.code) or 0)
      due[key] = (due[key] or 0) + tax.amount
    end
  end
  for _, line in ipairs(order.lines) do count(line) end
  for _, charge in ipairs(shipping) do count(charge) end
  for _, tax in ipairs(taxes or list {}) do
    local key, step = tostring(tax.tax), "tax_" .. tostring(tax.id)
    local right = due[key] or 0
    if money(tax.amount.decimal, order.currency) ~= right then
      local _, written = result(step)
      if refused then return refused end
      if not written then
        return rpc(step, "account.invoice.tax.write", {list {tax.id}, {amount = money_dec(right)}, context})
      end
    end
  end
  local check, check_asked = result("total")
  if refused then return refused end
  if not check_asked then
    return rpc("total", "account.invoice.read", {list {invoice}, list {"total_amount"}, context}, false)
  end
  local total = money(check[1].total_amount.decimal, order.currency)
  if total ~= order.totals.grand then
    return {hold = "Tryton's invoice says " .. money_text(total, order.currency) .. ", the order " ..
                   money_text(order.totals.grand, order.currency) .. " " .. order.currency}
  end
  local _, dated = result("date")
  if refused then return refused end
  if not dated then
    local day = order.placed_at
    return rpc("date", "account.invoice.write", {list {invoice}, {
      invoice_date = {__class__ = "date", year = tonumber(day:sub(1, 4)), month = tonumber(day:sub(6, 7)),
                      day = tonumber(day:sub(9, 10))}}, context})
  end
  local _, posted = result("post")
  if refused then return refused end
  if not posted then return rpc("post", "account.invoice.post", {list {invoice}, context}) end
  return {done = true, reference = number_of}
end
