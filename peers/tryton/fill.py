"""Fills a fresh Tryton 6 database with a small retailer: fill.py TRYTOND_CONF DATABASE

Company, chart of accounts, three fiscal years, German and French value added taxes, a warehouse with
stock, the products that the hub's examples sell, a walk-in customer, and the user that the hub
signs in as. Works in the ERP's own process: no server is needed. Writes the connector's settings to
$TRYTON_HOME/ids.json.
"""
import datetime
import json
import os
import sys
from decimal import Decimal

from proteus import Model, Wizard, config

CONF, DATABASE = sys.argv[1:3]
session = config.set_trytond(f"postgresql:///{DATABASE}", config_file=CONF)
TAXES = {"DE-STD": "0.19", "DE-RED": "0.07", "FR-STD": "0.20"}
# What the hub's examples sell, and what `penstock demo` sells.
PRODUCTS = (["TEE-RED-M", "TEE-BLUE-L", "MUG-BLUE", "BAG-01", "TEE-BLU-L", "HOODIE-GRY-S", "JEANS-32-34",
             "SOCKS-3PK", "CAP-NVY", "SCARF-WOOL", "BELT-BRN-90", "COAT-BLK-40", "SHIRT-WHT-41", "SHOES-42",
             "BAG-CANVAS", "CHEESE"] + [f"SKU-{i:04d}" for i in range(1, 41)])
UNITS = {"": "Unit", "CHEESE": "Kilogram"}
# Names that shops have for a tax: the hub's codes for "DE MwSt" (Shopify) and "DE-MWST-1" (WooCommerce).
SAME_TAX = {"DE-MWST": "DE-STD", "DE-MWST-1": "DE-STD"}


def one(model, *domain):
    found = Model.get(model).find(list(domain), limit=1)
    return found[0] if found else None


def new(model, **values):
    record = Model.get(model)(**values)
    record.save()
    return record


def company_make():
    euro = one("currency.currency", ("code", "=", "EUR"))
    if euro is None:
        euro = Model.get("currency.currency")(
            name="Euro", symbol="€", code="EUR", rounding=Decimal("0.01"), digits=2)
        euro.rates.new(date=datetime.date(2000, 1, 1), rate=Decimal(1))
        euro.save()
    krona = Model.get("currency.currency")(name="Krona", symbol="kr", code="SEK", rounding=Decimal("0.01"), digits=2)
    krona.rates.new(date=datetime.date(2000, 1, 1), rate=Decimal("11.2"))
    krona.save()
    wizard = Wizard("company.company.config")
    wizard.execute("company")
    wizard.form.party = new("party.party", name="Retailer", code="OWNER")
    wizard.form.currency = euro
    wizard.execute("add")
    session._context = Model.get("res.user").get_preferences(True, {})
    return one("company.company"), euro


def accounts_make(company):
    template = one("ir.model.data", ("module", "=", "account"), ("fs_id", "=", "account_template_root_en"))
    wizard = Wizard("account.create_chart")
    wizard.execute("account")
    wizard.form.account_template = Model.get("account.account.template")(template.db_id)
    wizard.form.company = company
    wizard.execute("create_account")
    wizard.form.account_receivable = one("account.account", ("type.receivable", "=", True))
    wizard.form.account_payable = one("account.account", ("type.payable", "=", True))
    wizard.execute("create_properties")


def years_make(company):
    invoices = one("ir.sequence.type", ("name", "=", "Invoice"))
    for year in range(datetime.date.today().year - 1, datetime.date.today().year + 2):
        strict = {"company": company, "sequence_type": invoices}
        out = new("ir.sequence.strict", name=f"Invoices {year}", prefix=f"{year}-", **strict)
        credit = new("ir.sequence.strict", name=f"Credit notes {year}", prefix=f"CN{year}-", **strict)
        fiscal = Model.get("account.fiscalyear")(name=str(year), company=company)
        fiscal.start_date, fiscal.end_date = datetime.date(year, 1, 1), datetime.date(year, 12, 31)
        fiscal.post_move_sequence = new(
            "ir.sequence", name=f"Moves {year}", company=company,
            sequence_type=one("ir.sequence.type", ("name", "=", "Account Move")))
        line = fiscal.invoice_sequences[0] if fiscal.invoice_sequences else fiscal.invoice_sequences.new()
        line.out_invoice_sequence = line.in_invoice_sequence = out
        line.out_credit_note_sequence = line.in_credit_note_sequence = credit
        fiscal.save()
        fiscal.click("create_period")


def taxes_make(company):
    account, taxes = one("account.account", ("name", "=", "Main Tax")), {}
    for code, rate in TAXES.items():
        taxes[code] = new("account.tax", name=code, description=code, type="percentage", rate=Decimal(rate),
                          company=company, invoice_account=account, credit_note_account=account)
    return taxes


def products_make(taxes):
    category = Model.get("product.category")(name="Standard rate", accounting=True)
    category.account_revenue = one("account.account", ("type.revenue", "=", True))
    category.account_expense = one("account.account", ("type.expense", "=", True))
    category.customer_taxes.append(Model.get("account.tax")(taxes["DE-STD"].id))
    category.save()
    units, ids = {code: one("product.uom", ("name", "=", name)) for code, name in UNITS.items()}, {}
    for i, code in enumerate(PRODUCTS + ["SHIPPING"]):
        template = Model.get("product.template")(
            name=code, default_uom=units.get(code, units[""]), salable=True,
            type="service" if code == "SHIPPING" else "goods")
        template.list_price = Decimal(499 + 100 * i) / 100
        template.account_category = category
        template.products[0].suffix_code = code  # `code` itself is computed
        template.products[0].cost_price = Decimal(200 + 40 * i) / 100
        template.save()
        ids[code] = template.products[0].id
    return ids


def stock_make(company, warehouse, products):
    inventory = Model.get("stock.inventory")(location=warehouse.storage_location, company=company)
    for code, product in products.items():
        if code != "SHIPPING":
            inventory.lines.new(product=Model.get("product.product")(product), quantity=100000.0)
    inventory.save()
    inventory.click("confirm")


def parties_make(company):
    party = Model.get("party.party")(name="Walk-in customer", code="WALKIN")
    (party.addresses[0] if party.addresses else party.addresses.new()).city = "Hamburg"
    party.save()
    user = Model.get("res.user")(name="Integration hub", login="hub", password="Hub-Signs-In-42")
    user.groups.extend(Model.get("res.group").find([]))
    user.companies.append(company)
    user.company = company
    user.save()


def report_shorten():
    """An invoice is printed when it is posted; a third of posting goes there, and nobody reads these."""
    report = one("ir.action.report", ("report_name", "=", "account.invoice"))
    report.template_extension, report.report_content_custom = "txt", b"Invoice ${records[0].number}"
    report.save()


def main():
    company, euro = company_make()
    accounts_make(company)
    years_make(company)
    taxes = taxes_make(company)
    products = products_make(taxes)
    term = Model.get("account.invoice.payment_term")(name="Immediate")
    term.lines.new(type="remainder")
    term.save()
    warehouse = one("stock.location", ("type", "=", "warehouse"))
    stock_make(company, warehouse, products)
    parties_make(company)
    report_shorten()
    tax_ids = {code: taxes[SAME_TAX.get(code, code)].id for code in [*TAXES, *SAME_TAX]}
    ids = {"settings": {"company": company.id, "currency_id": euro.id, "payment_term": term.id,
                        "warehouse": warehouse.id, "taxes": tax_ids}, "products": products}
    with open(os.path.join(os.environ["TRYTON_HOME"], "ids.json"), "w", encoding="utf-8") as file:
        json.dump(ids, file, indent=1, sort_keys=True)


main()
