-- Rows of an order → canonical order. What is of the order as a whole (customer, address, shipping,
-- tender, grand_total) is read from its first row. Columns that are not there, or empty, are left out.

local function of(row, name)
  local text = get(row, name)
  if text and text:trim() ~= "" then return text:trim() end
end

local function needed(row, name)
  return of(row, name) or fail("column " .. name .. " is empty, and must not be")
end

-- A table, or nil where all of it is.
local function some(t)
  for _ in pairs(t) do return t end
end

return function(doc, settings)
  local head = doc.row
  local currency = of(head, "currency") or settings.currency
  local included = settings.prices_include_tax

  local function amount(row, name)
    local text = of(row, name)
    return text and money(text, currency)
  end

  local function taxes(row, total)
    local code, paid = of(row, "tax_code"), amount(row, "tax_amount")
    if not code and not paid then return nil end
    if not paid then fail("column tax_amount is empty, though tax_code is not") end
    return list{{
      code = code, rate = of(row, "tax_rate"), amount = paid,
      base = amount(row, "tax_base") or (included and total - paid or total),
    }}
  end

  local sum_lines, sum_tax = 0, 0
  local lines = each(doc.rows, function(row)
    local quantity, price = needed(row, "quantity"), money(needed(row, "unit_price"), currency)
    local total = amount(row, "total") or money(needed(row, "total"), currency)
    sum_lines = sum_lines + total
    sum_tax = sum_tax + (amount(row, "tax_amount") or 0)
    return {
      line_id = of(row, "line"), sku = needed(row, "sku"), name = of(row, "description"),
      quantity = decimal(quantity), unit_price = price, discount = amount(row, "discount"),
      total = total, taxes = taxes(row, total),
    }
  end)

  local shipping = amount(head, "shipping_total")
  local street = of(head, "street")
  local computed = sum_lines + (shipping or 0) + (included and 0 or sum_tax)
  local paid = amount(head, "tender_amount")
  return {
    channel = of(head, "channel") or settings.channel,
    channel_order_id = needed(head, "order"),
    placed_at = instant(needed(head, "placed_at"), settings.offset),
    currency = currency,
    prices_include_tax = included,
    customer = some{
      customer_id = of(head, "customer"), email = of(head, "email"), phone = of(head, "phone"),
    },
    ship_to = some{
      name = of(head, "name"), company = of(head, "company"), street = street and list{street},
      postal_code = of(head, "postal_code"), city = of(head, "city"), region = of(head, "region"),
      country = of(head, "country"),
    },
    lines = lines,
    shipping = shipping and list{{method = of(head, "shipping_method") or "standard", total = shipping}},
    tenders = paid and list{{
      kind = of(head, "tender_kind") or "other", amount = paid, reference = of(head, "tender_reference"),
      state = of(head, "tender_state") or "captured",
    }},
    totals = {grand = amount(head, "grand_total") or computed},
  }
end
