-- An order's events → Tryton, call by call.
--
--   order.captured   party and sale, confirmed; with invoice_at "capture" its invoice, posted
--   order.shipped    Tryton's shipment of what left, done; with invoice_at "shipment" the invoice for it
--   order.cancelled  the sale and what waits to be shipped become less; what was invoiced is credited
--
-- A sale carries the hub's order id as its reference, a shipment and its invoice the hub's shipment id, a
-- credit note the event's id: those are looked for before anything is made. Every call between changes
-- nothing when it is made again, or is made only where its work is not there yet.
--
-- Amounts are the order's. Prices go in without tax; the taxes that Tryton has computed are written over
-- before an invoice is posted. What a line was sold for stands in the note of the sale's line ("line 1 of 3
-- DE-STD=638"): what is shipped or cancelled later gets its share of the tax, the share of all that is
-- invoiced with it less the share of what was before, so that the parts add up to the order to the cent.

local PLACES = 9 -- quantities as whole numbers: "1.5" is 1500000000
local function scaled(text)
  local whole, part = decimal(text):match("^(%-?%d+)%.?(%d*)$")
  return math.tointeger(tonumber(whole .. part .. ("0"):rep(PLACES - #part)))
end
local function unscaled(n, places)
  local digits = tostring(math.abs(n))
  digits = ("0"):rep(PLACES + 1 - #digits) .. digits
  return decimal((n < 0 and "-" or "") .. digits:sub(1, -PLACES - 1) .. "." .. digits:sub(-PLACES), places)
end
local function dec(text) return {__class__ = "Decimal", decimal = text} end
local function date(text)
  return {__class__ = "date", year = tonumber(text:sub(1, 4)), month = tonumber(text:sub(6, 7)),
          day = tonumber(text:sub(9, 10))}
end
local function first(found) return found and #found > 0 and found[1] or nil end
local function change(id, values) return list {"write", list {id}, values} end

-- Tryton keeps four digits of a price. The price of which so many make this amount, and whether they do.
local function price_of(amount, quantity, currency)
  local text = money_text(amount, currency)
  local price = mul_div(scaled(text), 10000, quantity)
  local makes = unscaled(mul_div(price, quantity, 10000), #(text:match("%.(%d*)$") or ""))
  return unscaled(price * 100000), money(makes, currency) == amount
end

local function note_of(kind, holder_id, quantity, taxes)
  local words = {kind, holder_id, "of", decimal(quantity)}
  for _, tax in ipairs(taxes) do table.insert(words, tax.code .. "=" .. tostring(tax.amount)) end
  return table.concat(words, " ")
end
local function note_read(note)
  local kind, holder_id, quantity, rest = (note or ""):match("^(%l+) (.+) of ([%d.]+)(.*)$")
  if kind ~= "line" and kind ~= "charge" then return nil end
  local read = {kind = kind, id = holder_id, key = kind .. " " .. holder_id, quantity = scaled(quantity),
                taxes = {}, rest = rest}
  for code, amount in rest:gmatch(" ([^ =]+)=(%-?%d+)") do
    table.insert(read.taxes, {code = code, amount = math.tointeger(tonumber(amount))})
  end
  return read
end

-- What Tryton's errors mean: tried again where it was busy, else for a person, in Tryton's words.
local BUSY = {"^ConcurrencyException$", "lock", "serialize", "Operational", "connection", "too many clients",
              "canceling statement"}
local function refusal(err)
  local kind = tostring(err[1])
  local words = opt(err, kind == "UserWarning" and "2.2" or "2.1") or opt(err, "2")
  if type(words) ~= "string" or words == "" then words = kind end
  -- A call that was given up was at work for longer than settle_ms: the next attempt finds what it did.
  if words:find("^You cannot modify invoice .+ because it is posted") then return {again = "Tryton: " .. words} end
  if kind ~= "UserError" and kind ~= "UserWarning" then
    for _, sign in ipairs(BUSY) do
      if kind:find(sign) then return {again = "Tryton: " .. kind:trim()} end
    end
    words = kind
  end
  return {hold = "Tryton: " .. words:trim()}
end

return function(doc, settings)
  local answers, event = doc.answers, doc.event
  local data, id = event.data, event.data.order_id
  local what = event.type:match("order%.(%l+)%.v")
  local context = {company = settings.company, language = "en"}
  local at_shipment = settings.invoice_at == "shipment"
  local step -- what comes next, as soon as it is known: nothing is asked any more then

  local function stop(words) step = step or {hold = words} end
  -- The answer of the call of this name; where it was not made yet, it is the next step.
  local function ask(name, method, params, how)
    if step then return nil end
    local answer = opt(answers, name)
    if not answer then
      table.insert(params, context)
      step = {call = name, changes = how ~= "reads", alone = how ~= "reads" and how or nil,
              body = {id = 1, method = "model." .. method, params = params}}
      return nil
    end
    local err = opt(answer, "body.error")
    if err then step = refusal(err) end
    return opt(answer, "body.result")
  end

  -- --- the sale as Tryton has it ---

  local FIELDS = list {
    "state", "number", "untaxed_amount", "currency.code", "lines.note", "lines.quantity", "lines.unit_price",
    "lines.amount", "invoices.state", "invoices.number", "invoices.reference", "invoices.untaxed_amount",
    "invoices.lines.origin", "invoices.lines.quantity", "invoices.lines.amount", "invoices.taxes.tax",
    "invoices.taxes.amount",
  }
  for _, name in ipairs(what ~= "captured" and {"state", "number", "reference"} or {}) do
    table.insert(FIELDS, "shipments." .. name)
    for _, moves in ipairs {"outgoing_moves", "inventory_moves"} do
      table.insert(FIELDS, "shipments." .. moves .. "." .. (name == "number" and "quantity" or
                                                           name == "reference" and "origin" or name))
    end
  end
  local function sale_read(name, sale_id)
    return first(ask(name, "sale.sale.read", list {list {sale_id}, FIELDS}, "reads"))
  end
  local function sale_find()
    local found = ask("find", "sale.sale.search_read",
                      list {list {list {"reference", "=", id}}, 0, 2, list {list {"id", "ASC"}}, FIELDS}, "reads")
    if found and #found > 1 then stop("Tryton has more than one sale with the reference " .. id) end
    return first(found)
  end
  -- Tryton confirms first and makes the invoice behind it: a server that ended in between left it at that.
  local function sale_processed(sale)
    if step or sale.state ~= "confirmed" then return sale end
    ask("process_confirmed", "sale.sale.process", list {list {sale.id}})
    return sale_read("confirmed", sale.id)
  end
  local function notes_of(sale)
    local notes = {} -- by the sale's line
    for _, line in ipairs(get(sale, "lines.")) do
      notes[line.id] = note_read(opt(line, "note"))
      if not notes[line.id] then stop("sale " .. sale.number .. " has a line that is not of the hub") end
    end
    return notes
  end
  -- Other quantities of a sale's lines ({id of the line: {quantity, note}}), and the sums that Tryton has
  -- stored for a confirmed sale.
  local function sale_change(name, sale, notes, changes)
    local writes, net, tax, counts = list {}, 0, 0, {}
    local currency = get(sale, "currency.").code
    for _, line in ipairs(get(sale, "lines.")) do
      local to = changes[line.id]
      local quantity = to and to.quantity or scaled(line.quantity)
      if to then
        table.insert(writes, change(line.id, {quantity = number(unscaled(quantity)), note = to.note}))
      end
      local exact = mul_div(scaled(line.unit_price.decimal), quantity, 1000000000)
      net = net + money(unscaled(exact, #(money_text(1, currency):match("%.(%d*)$") or "")), currency)
      local key = notes[line.id].key
      counts[key] = counts[key] or {note = notes[line.id], n = 0}
      counts[key].n = counts[key].n + quantity
    end
    for _, one in pairs(counts) do
      tax = tax + sum(one.note.taxes, function(part) return mul_div(part.amount, one.n, one.note.quantity) end)
    end
    local function sums(minor) return dec(money_text(minor, currency)) end
    ask(name, "sale.sale.write", list {list {sale.id}, {
      lines = writes, untaxed_amount_cache = sums(net), tax_amount_cache = sums(tax),
      total_amount_cache = sums(net + tax)}})
  end

  -- --- invoices ---

  local function line_of(origin, model)
    return math.tointeger(tonumber((origin or ""):match("^" .. model .. ",(%d+)$") or ""))
  end

  -- Makes the draft `invoice` of `sale` what it has to be, and posts it. `total`: what it must come to.
  local function invoice_post(sale, invoice, day, reference, total)
    local currency, notes = get(sale, "currency.").code, notes_of(sale)
    local before, after, sums = {}, {}, {} -- quantities by the order's line; all of a sale's line
    for _, one in ipairs(get(sale, "invoices.")) do
      for _, line in ipairs(one.state ~= "cancelled" and get(one, "lines.") or list {}) do
        local at = line_of(opt(line, "origin"), "sale%.line")
        local note = at and notes[at]
        if note then
          local n = scaled(line.quantity)
          after[note.key] = (after[note.key] or 0) + n
          if one.id ~= invoice.id then before[note.key] = (before[note.key] or 0) + n end
          sums[at] = sums[at] or {n = 0, amount = 0}
          sums[at].n = sums[at].n + n
          sums[at].amount = sums[at].amount + money(line.amount.decimal, currency)
          if one.id == invoice.id then sums[at].part = line end
        elseif one.id == invoice.id then
          stop("the invoice of sale " .. sale.number .. " has a line that is not of the hub")
        end
      end
    end

    -- The last part of a line that was invoiced in parts carries the cents that do not divide.
    local prices = list {}
    for _, line in ipairs(get(sale, "lines.")) do
      local all = sums[line.id]
      local more = all and all.part and all.n == scaled(line.quantity) and
                   money(line.amount.decimal, currency) - all.amount or 0
      if more ~= 0 then
        local due = money(all.part.amount.decimal, currency) + more
        local price, exact = price_of(due, scaled(all.part.quantity), currency)
        if not exact then stop("no price of " .. notes[line.id].key .. " makes " .. money_text(due, currency)) end
        table.insert(prices, change(all.part.id, {unit_price = dec(price)}))
      end
    end
    if #prices > 0 then
      ask("prices", "account.invoice.write", list {list {invoice.id}, {lines = prices}})
      invoice = first(ask("priced", "account.invoice.read", list {list {invoice.id}, list {
        "untaxed_amount", "taxes.tax", "taxes.amount"}}, "reads")) or invoice
    end

    local due, taxed, seen = {}, 0, {}
    for _, line in ipairs(get(sale, "lines.")) do
      local note = notes[line.id]
      for _, tax in ipairs(note and not seen[note.key] and note.taxes or {}) do
        local tax_id = get(settings.taxes, tax.code)
        if not tax_id then stop("no tax of Tryton is set for the code " .. tax.code) end
        local part = mul_div(tax.amount, after[note.key] or 0, note.quantity) -
                     mul_div(tax.amount, before[note.key] or 0, note.quantity)
        due[tostring(tax_id)] = (due[tostring(tax_id)] or 0) + part
        taxed = taxed + part
      end
      if note then seen[note.key] = true end
    end
    local taxes = list {}
    for _, row in ipairs(get(invoice, "taxes.")) do
      local right = due[tostring(row.tax)] or 0
      if money(row.amount.decimal, currency) ~= right then
        table.insert(taxes, change(row.id, {amount = dec(money_text(right, currency))}))
      end
      due[tostring(row.tax)] = nil
    end
    for _, left in pairs(due) do
      if left ~= 0 then stop("Tryton's invoice has not all of the order's taxes") end
    end
    local comes_to = money(invoice.untaxed_amount.decimal, currency) + taxed
    if total and comes_to ~= total then
      stop("Tryton's invoice says " .. money_text(comes_to, currency) .. ", the order " ..
           money_text(total, currency) .. " " .. currency)
    end
    ask("write_" .. invoice.id, "account.invoice.write", list {list {invoice.id}, {
      invoice_date = date(day), reference = reference, taxes = #taxes > 0 and taxes or nil}})
    -- Numbers without holes: Tryton holds a lock from the number to the end of the call. It numbers by date:
    -- behind an invoice of a later day (this one was held up) it can only be of today. And it warns of payments
    -- that are due in the past, as those of an order that comes late are: what its own client writes down when
    -- its user goes on all the same. Of anything else that it warns of a person has to know.
    local post, due_in_past = "post_" .. invoice.id, "invoice_payment_term_" .. invoice.id
    local redated, accepted = false, opt(settings, "payment_in_past") == "hold"
    while not step do
      local err = opt(answers, post .. ".body.error")
      local words = err and opt(err, "2.1")
      if not redated and type(words) == "string" and words:find("must set an accounting date after", 1, true) then
        local today = ask("today", "ir.date.today", list {}, "reads")
        ask("date_" .. invoice.id, "account.invoice.write", list {list {invoice.id}, {invoice_date = today}})
        post, redated = "post_today_" .. invoice.id, true
      elseif not accepted and words == due_in_past and err[1] == "UserWarning" then
        local me = first(ask("user", "res.user.search", list {list {list {"login", "=", settings.user}}}, "reads"))
        ask("accept_" .. invoice.id, "res.user.warning.create", list {list {{
          user = me, name = due_in_past, always = false}}})
        post, accepted = post .. "_accepted", true
      else
        break
      end
    end
    ask(post, "account.invoice.post", list {list {invoice.id}}, "invoice numbers")
  end
  -- The sale's invoice that is not posted yet, or the one that was, under this reference.
  local function invoice_of(sale, reference)
    local draft, posted
    for _, invoice in ipairs(get(sale, "invoices.")) do
      if invoice.state == "draft" or invoice.state == "validated" then
        if draft then stop("sale " .. sale.number .. " has more than one draft invoice in Tryton") end
        draft = invoice
      elseif opt(invoice, "reference") == reference then
        posted = invoice
      end
    end
    return draft, posted
  end

  -- --- order.captured ---

  local function party_of(order)
    local customer = opt(order, "customer")
    local code = customer and opt(customer, "customer_id") or settings.walk_in
    local READ = list {"code", "addresses"}
    local who = first(ask("party", "party.party.search_read",
                          list {list {list {"code", "=", code}}, 0, 2, list {list {"id", "ASC"}}, READ}, "reads"))
    if step then return nil end
    if not who then
      local street, to = {}, opt(order, "ship_to")
      for _, line in ipairs(opt(to, "street") or list {}) do table.insert(street, line) end
      local mail = customer and opt(customer, "email")
      local made = ask("make_party", "party.party.create", list {list {{
        name = customer and opt(customer, "name") or code, code = code,
        addresses = list {list {"create", list {{
          street = table.concat(street, "\n"), postal_code = opt(to, "postal_code"), city = opt(to, "city")}}}},
        contact_mechanisms = mail and list {list {"create", list {{type = "email", value = mail}}}} or nil,
      }}})
      -- Another order of the same customer made it at the same time: the next attempt finds it.
      local words = step and step.hold
      if words and words:find("unique", 1, true) then step = {again = words} end
      who = first(ask("read_party", "party.party.read", list {made, READ}, "reads"))
    end
    if who and not first(who.addresses) then stop("the party " .. code .. " has no address in Tryton") end
    return who
  end

  local function products_of(order)
    local codes, seen, by_code = list {}, {}, {}
    for _, line in ipairs(order.lines) do
      if not seen[line.sku] then seen[line.sku] = true; table.insert(codes, line.sku) end
    end
    if #(opt(order, "shipping") or list {}) > 0 then table.insert(codes, settings.shipping_product) end
    local found = ask("products", "product.product.search_read", list {
      list {list {"code", "in", codes}}, 0, 6000, list {list {"id", "ASC"}},
      list {"code", "sale_uom.symbol", "sale_uom.digits"}}, "reads")
    for _, product in ipairs(found or list {}) do by_code[product.code] = product end
    for _, code in ipairs(found and codes or list {}) do
      if not by_code[code] then stop("Tryton has no product with the code " .. code) end
    end
    return by_code
  end

  -- The lines of the sale; prices without tax. Where an amount does not divide by whole units, some carry
  -- a minor unit more, in a line of their own.
  local function lines_of(order, products)
    local lines = list {}
    local function add(kind, holder_id, code, holder, quantity, words)
      local product, unit = products[code], get(products[code], "sale_uom.")
      local all, taxes, ids = scaled(quantity), opt(holder, "taxes") or list {}, list {}
      local net = holder.total
      for _, tax in ipairs(taxes) do
        local tax_id = get(settings.taxes, tax.code)
        if not tax_id then stop("no tax of Tryton is set for the code " .. tax.code) end
        table.insert(ids, tax_id)
        if opt(order, "prices_include_tax") then net = net - tax.amount end
      end
      if #(decimal(quantity):match("%.(%d+)$") or "") > unit.digits then
        return stop("the quantity " .. quantity .. " of " .. code .. " has more digits than Tryton's unit " ..
                    unit.symbol .. ", which has " .. unit.digits)
      end
      local function line(so_many, price)
        table.insert(lines, {
          type = "line", product = product.id, unit = unit.id, unit_price = dec(price), description = words,
          quantity = number(kind == "charge" and at_shipment and "0" or so_many),
          taxes = list {list {"add", ids}}, note = note_of(kind, holder_id, quantity, taxes)})
      end
      local units = math.tointeger(tonumber(decimal(quantity)))
      if not units then
        local price, exact = price_of(net, all, order.currency)
        if not exact then
          return stop("no price with four digits makes " .. quantity .. " of " .. code .. " " ..
                      money_text(net, order.currency) .. " " .. order.currency)
        end
        return line(decimal(quantity), price)
      end
      local each_one = net // units
      local more = net - each_one * units
      if units > more then line(tostring(units - more), money_text(each_one, order.currency)) end
      if more > 0 then line(tostring(more), money_text(each_one + 1, order.currency)) end
    end
    for _, line in ipairs(order.lines) do
      add("line", line.line_id, line.sku, line, line.quantity, opt(line, "name") or line.sku)
    end
    for i, charge in ipairs(opt(order, "shipping") or list {}) do
      add("charge", opt(charge, "line_id") or tostring(i), settings.shipping_product, charge, "1",
          opt(charge, "method") or "shipping")
    end
    if opt(order, "totals.rounding", 0) ~= 0 then
      stop("the order carries a rounding of " .. money_text(order.totals.rounding, order.currency) .. " " ..
           order.currency .. ", for which no account is set")
    end
    return lines
  end

  local function currency_of(order)
    if order.currency == settings.currency then return settings.currency_id end
    local found = ask("currency", "currency.currency.search_read", list {
      list {list {"code", "=", order.currency}}, 0, 1, list {list {"id", "ASC"}}, list {"digits", "rates"}}, "reads")
    if step then return nil end
    local currency = first(found)
    if not currency then return stop("Tryton has no currency " .. order.currency) end
    if #currency.rates == 0 then return stop("Tryton has no rate of " .. order.currency) end
    if #(money_text(1, order.currency):match("%.(%d*)$") or "") > currency.digits then
      return stop("Tryton keeps only " .. currency.digits .. " digits of " .. order.currency)
    end
    return currency.id
  end

  local function sale_make(order)
    local currency, products = currency_of(order), products_of(order)
    local lines = not step and lines_of(order, products)
    local who = party_of(order)
    if step then return nil end
    local address = first(who.addresses)
    local made = ask("make_sale", "sale.sale.create", list {list {{
      party = who.id, invoice_address = address, shipment_address = address, reference = id,
      description = order.channel .. " " .. order.channel_order_id, sale_date = date(order.placed_at),
      warehouse = settings.warehouse, currency = currency, payment_term = settings.payment_term,
      invoice_method = at_shipment and "shipment" or "order", shipment_method = "order",
      lines = list {list {"create", lines}},
    }}})
    return {id = first(made), state = "draft"}
  end

  local function captured()
    local order = data.order
    local sale = doc.suspect and sale_find() or nil
    if not step and not sale then sale = sale_make(order) end
    if step then return end
    if sale.state == "cancelled" then return stop("the sale is cancelled in Tryton") end
    local found = sale.state
    if found == "draft" then ask("quote", "sale.sale.quote", list {list {sale.id}}) end
    if found == "draft" or found == "quotation" then
      ask("confirm", "sale.sale.confirm", list {list {sale.id}})
      sale = sale_read("sale", sale.id)
    end
    sale = sale_processed(sale)
    if step then return end
    local draft, posted = invoice_of(sale, id)
    if not at_shipment and draft then
      invoice_post(sale, draft, order.placed_at, id, order.totals.grand)
    elseif not at_shipment and not posted then
      step = {again = "Tryton has made no invoice for the sale yet"}
    end
    step = step or {done = true, reference = sale.number}
  end

  -- --- what the order's lines say of Tryton's moves ---

  local function wanted_of(parts)
    local wanted = {} -- by line_id
    for _, part in ipairs(parts) do wanted[part.line_id] = (wanted[part.line_id] or 0) + scaled(part.quantity) end
    return wanted
  end
  -- Sets the outgoing moves of a shipment to `quantities` ({id: scaled}): the moves to its output where
  -- goods are picked first, else the moves themselves. Answers what is to be written; nil: nothing.
  local function moves_set(shipment, quantities, both)
    local values = {}
    local function set(name, of)
      local writes, gone = list {}, list {}
      for _, move in ipairs(get(shipment, name .. ".")) do
        local n = quantities[of(move)]
        if n and n == 0 then table.insert(gone, move.id)
        elseif n and n ~= scaled(move.quantity) then
          table.insert(writes, change(move.id, {quantity = number(unscaled(n))}))
        end
      end
      if #gone > 0 then table.insert(writes, list {"delete", gone}) end
      if #writes > 0 then values[name] = writes end
    end
    local picked_first = #get(shipment, "inventory_moves.") > 0
    if picked_first then
      set("inventory_moves", function(move) return line_of(opt(move, "origin"), "stock%.move") end)
    end
    if both or not picked_first then set("outgoing_moves", function(move) return move.id end) end
    return values
  end

  -- --- order.shipped ---

  -- Charges are invoiced with the first goods: until those are done there are none of them.
  local function charges_due(sale, notes)
    local changes, any = {}, false
    for _, line in ipairs(get(sale, "lines.")) do
      local note = notes[line.id]
      if note and note.kind == "charge" and scaled(line.quantity) == 0 then
        changes[line.id], any = {quantity = note.quantity}, true
      end
    end
    if any then sale_change("charges", sale, notes, changes) end
  end

  local ORDER = {waiting = "assign_force", assigned = "pick", picked = "pack", packed = "done"}
  local function shipment_do(shipment, from, sale, notes)
    local state = from
    while ORDER[state] do
      if state == "packed" and at_shipment then charges_due(sale, notes) end
      ask(ORDER[state], "stock.shipment.out." .. ORDER[state], list {list {shipment.id}})
      state = ({waiting = "assigned", assigned = "picked", picked = "packed"})[state]
    end
  end

  -- Exactly what has left: the rest of the shipment becomes another one by Tryton itself.
  local function shipment_fill(sale, shipment, notes)
    local wanted, quantities, full = wanted_of(data.lines), {}, true
    for _, move in ipairs(get(shipment, "outgoing_moves.")) do
      local at = line_of(opt(move, "origin"), "sale%.line")
      local note = at and notes[at]
      local want = note and wanted[note.id] or 0
      local take = math.min(want, scaled(move.quantity))
      if note then wanted[note.id] = want - take end
      quantities[move.id] = take
      full = full and take == scaled(move.quantity)
    end
    for _, part in ipairs(data.lines) do
      if wanted[part.line_id] > 0 then
        stop("of " .. part.sku .. " " .. unscaled(wanted[part.line_id]) .. " more have left than Tryton's shipment " ..
             shipment.number .. " has")
      end
    end
    if step then return end
    local state = shipment.state
    if state == "picked" or state == "packed" then
      if not full then stop("Tryton's shipment " .. shipment.number .. " was picked already, with other quantities") end
    elseif state ~= "waiting" then
      ask("wait", "stock.shipment.out.wait", list {list {shipment.id}})
      state = "waiting"
    end
    local values = state == "waiting" and not full and moves_set(shipment, quantities, false) or {}
    values.reference, values.effective_date = data.shipment_id, date(data.shipped_at)
    ask("fill", "stock.shipment.out.write", list {list {shipment.id}, values})
    shipment_do(shipment, state, sale, notes)
  end

  local function shipped()
    local sale = sale_find()
    if step then return end
    if not sale then return stop("Tryton has no sale with the reference " .. id) end
    sale = sale_processed(sale)
    if step then return end
    local notes, ours, waiting = notes_of(sale), nil, nil
    for _, shipment in ipairs(get(sale, "shipments.")) do
      if opt(shipment, "reference") == data.shipment_id then ours = shipment
      elseif shipment.state ~= "done" and shipment.state ~= "cancelled" then waiting = waiting or shipment end
    end
    if not ours and not waiting then return stop("Tryton has no shipment waiting for sale " .. sale.number) end
    if not ours then shipment_fill(sale, waiting, notes) else shipment_do(ours, ours.state, sale, notes) end
    if step then return end
    if not at_shipment then
      step = {done = true, reference = (ours or waiting).number}
      return
    end
    local after = sale_read("shipped", sale.id)
    if step then return end
    local draft, posted = invoice_of(after, data.shipment_id)
    if not draft and not posted then
      ask("process_shipped", "sale.sale.process", list {list {sale.id}})
      after = sale_read("invoiced", sale.id)
      if step then return end
      draft, posted = invoice_of(after, data.shipment_id)
    end
    if draft then
      invoice_post(after, draft, data.shipped_at, data.shipment_id, nil)
      posted = first(ask("posted", "account.invoice.read", list {list {draft.id}, list {"number"}}, "reads"))
    elseif not posted then
      step = step or {again = "Tryton has made no invoice for the shipment yet"}
    end
    if not step then step = {done = true, reference = posted.number} end
  end

  -- --- order.cancelled ---

  -- Less of the sale's lines: of those that were split, the last first. The note says that it was done.
  local function sale_lessen(sale, notes)
    local wanted, changes, done = wanted_of(data.lines), {}, false
    local lines = get(sale, "lines.")
    for i = #lines, 1, -1 do
      local line, note = lines[i], notes[lines[i].id]
      local n = scaled(line.quantity)
      local take = note.kind == "line" and math.min(wanted[note.id] or 0, n) or
                   note.kind == "charge" and data.state == "cancelled" and n or 0
      done = done or note.rest:find(" -" .. event.id, 1, true) ~= nil
      if note.kind == "line" and wanted[note.id] then wanted[note.id] = wanted[note.id] - take end
      if take > 0 then changes[line.id] = {quantity = n - take, note = line.note .. " -" .. event.id} end
    end
    if done then return end
    for _, part in ipairs(data.lines) do
      if wanted[part.line_id] > 0 then
        return stop("Tryton's sale " .. sale.number .. " has " .. unscaled(wanted[part.line_id]) .. " less of " ..
                    part.sku .. " than was cancelled")
      end
    end
    sale_change("lessen", sale, notes, changes)
  end

  -- What waits to be shipped becomes what the sale's lines still want.
  local function shipments_lessen(sale, notes)
    local too_much = {} -- by the sale's line
    for _, line in ipairs(get(sale, "lines.")) do too_much[line.id] = -scaled(line.quantity) end
    for _, shipment in ipairs(get(sale, "shipments.")) do
      for _, move in ipairs(get(shipment, "outgoing_moves.")) do
        local at = line_of(opt(move, "origin"), "sale%.line")
        if at and too_much[at] and move.state ~= "cancelled" then
          too_much[at] = too_much[at] + scaled(move.quantity)
        end
      end
    end
    for _, shipment in ipairs(get(sale, "shipments.")) do
      local quantities, changes, left = {}, false, 0
      for _, move in ipairs(get(shipment, "outgoing_moves.")) do
        local at, n = line_of(opt(move, "origin"), "sale%.line"), scaled(move.quantity)
        local open = move.state ~= "done" and move.state ~= "cancelled"
        local take = open and at and math.max(0, math.min(too_much[at] or 0, n)) or 0
        if take > 0 then
          too_much[at] = too_much[at] - take
          quantities[move.id], changes = n - take, true
        end
        if open then left = left + n - take end
      end
      if changes and (shipment.state == "picked" or shipment.state == "packed") then
        stop("Tryton's shipment " .. shipment.number .. " was picked already: what was cancelled is in it")
      elseif changes then
        local function call(name, method, ...)
          ask(name .. "_" .. shipment.id, "stock.shipment.out." .. method, list {list {shipment.id}, ...})
        end
        if shipment.state == "assigned" then call("wait", "wait") end
        call("lessen", "write", moves_set(shipment, quantities, true))
        if left == 0 then call("cancel", "cancel") end
      end
    end
    for _, line in ipairs(get(sale, "lines.")) do
      if too_much[line.id] > 0 and notes[line.id].kind == "line" then
        stop("of sale " .. sale.number .. " more was shipped in Tryton than is left of the order")
      end
    end
  end

  local function cancelled()
    local sale = sale_find()
    if step then return end
    if not sale then step = {done = true} return end -- it never came to the books
    if sale.state == "draft" or sale.state == "quotation" then
      ask("cancel", "sale.sale.cancel", list {list {sale.id}})
      step = step or {done = true, reference = sale.number}
      return
    end
    sale = sale_processed(sale)
    if step then return end
    local notes = notes_of(sale)
    if not step then sale_lessen(sale, notes) end
    local less = sale_read("lessened", sale.id)
    if not step then shipments_lessen(less, notes_of(less)) end
    ask("process", "sale.sale.process", list {list {sale.id}}) -- Tryton credits what it has invoiced too much
    local after = sale_read("processed", sale.id)
    if step then return end
    local draft, posted = invoice_of(after, event.id)
    if draft then
      invoice_post(after, draft, event.time, event.id, nil)
      posted = first(ask("posted", "account.invoice.read", list {list {draft.id}, list {"number"}}, "reads"))
    end
    if not step then step = {done = true, reference = posted and posted.number or sale.number} end
  end

  local steps = {captured = captured, shipped = shipped, cancelled = cancelled}
  steps[what]()
  return step
end
