-- order.captured → sales order of a generic ERP.
--
-- The ERP wants amounts as decimal text in the order's currency. They are written from the
-- hub's minor units exactly, and nothing is computed again: what the hub says adds up is what
-- the ERP books.

return function(event)
  local order, id = event.data.order, event.data.order_id
  local currency = order.currency

  local function amount(minor) return money_text(minor, currency) end

  local function taxes(holder)
    local from = get(holder, "taxes")
    if not from or #from == 0 then return nil end
    return each(from, function(tax)
      return {code = tax.code, rate = get(tax, "rate"), amount = amount(tax.amount)}
    end)
  end

  local lines = each(order.lines, function(line)
    return {
      line = line.line_id,
      item = line.sku,
      description = get(line, "name"),
      quantity = line.quantity,
      discount = amount(get(line, "discount") or 0),
      amount = amount(line.total),
      taxes = taxes(line),
    }
  end)

  local charges = each(get(order, "shipping") or list(), function(charge)
    return {
      line = get(charge, "line_id"), code = get(charge, "method") or "shipping",
      amount = amount(charge.total), taxes = taxes(charge),
    }
  end)

  local payments = each(get(order, "tenders") or list(), function(tender)
    return {
      method = get(tender, "kind"), amount = amount(tender.amount),
      reference = get(tender, "reference"), state = get(tender, "state"),
    }
  end)

  local totals, customer = order.totals, get(order, "customer")
  return {
    external_id = id,
    correlation_id = get(event, "correlationid"),
    channel = order.channel,
    channel_reference = order.channel_order_id,
    ordered_at = order.placed_at,
    currency = currency,
    tax_included = get(order, "prices_include_tax"),
    customer = customer and {number = get(customer, "customer_id"), name = get(customer, "name")},
    lines = lines,
    charges = charges,
    payments = payments,
    totals = {
      lines = amount(totals.lines),
      charges = amount(totals.shipping),
      tax = amount(totals.tax),
      rounding = amount(totals.rounding),
      grand = amount(totals.grand),
    },
  }
end
