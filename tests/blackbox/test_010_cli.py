"""The command line: help, exit codes, init, check, settings, schema."""

import json
import re

import pytest

COMMANDS = ["init", "serve", "demo", "key", "check", "trace", "sandbox", "journal", "openapi",
            "schema", "settings"]


def test_help_lists_every_command(binary):
    out = binary.ok("--help")
    for name in COMMANDS:
        assert re.search(rf"^\s*(penstock )?{name}\b", out, re.M), f"{name} is not in:\n{out}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(binary, name):
    out = binary.ok(name, "--help")
    assert f"penstock {name}" in out
    assert "--help" in out
    assert len(out.splitlines()) >= 5


def test_help_of_two_words(binary):
    assert "--listen" in binary.ok("sandbox", "erp", "--help")


@pytest.mark.parametrize("args", [
    [], ["nothing-of-the-kind"], ["serve", "--no-such-option"], ["init"], ["serve", "--listen"],
    ["key", "invent", "-C", "."], ["trace"], ["settings", "surplus", "words"],
    ["journal"], ["sandbox", "nothing"],
])
def test_wrong_usage_is_2_and_silent_on_stdout(binary, args):
    done = binary.run(*args)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "penstock" in done.stderr


def test_version(binary):
    assert re.search(r"\d+\.\d+\.\d+", binary.ok("--version"))


def test_init_makes_a_configuration_that_check_accepts(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    assert (tmp_path / "shop" / "penstock.yaml").is_file()
    binary.ok("check", "-C", tmp_path / "shop")


def test_init_does_not_overwrite(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    config = tmp_path / "shop" / "penstock.yaml"
    config.write_text(config.read_text() + "# mine\n")
    done = binary.run("init", tmp_path / "shop")
    assert done.returncode == 1
    assert "# mine" in config.read_text()


def test_check_names_file_and_line_of_every_fault(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    config = tmp_path / "shop" / "penstock.yaml"
    lines = config.read_text().splitlines()
    lines.append("no_such_member: 1")
    config.write_text("\n".join(lines) + "\n")
    done = binary.run("check", "-C", tmp_path / "shop")
    assert done.returncode == 1
    text = done.stdout + done.stderr
    assert re.search(rf"penstock\.yaml:{len(lines)}\b", text), text
    assert "no_such_member" in text


def test_check_of_broken_yaml(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    (tmp_path / "shop" / "penstock.yaml").write_text("channels:\n  - {channel: a\n  b: [\n")
    done = binary.run("check", "-C", tmp_path / "shop")
    assert done.returncode == 1
    assert re.search(r"penstock\.yaml:\d+", done.stdout + done.stderr)


def test_check_as_json(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    json.loads(binary.ok("check", "-C", tmp_path / "shop", "--json"))


def test_check_of_no_folder_is_1(binary, tmp_path):
    done = binary.run("check", "-C", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr


def test_settings_are_listed_with_bounds(binary):
    doc = json.loads(binary.ok("settings", "--json"))
    rows = doc if isinstance(doc, list) else doc.get("settings") or doc.get("items")
    by_name = {row["name"]: row for row in rows}
    assert by_name["body_bytes_max"]["default"] == 8388608
    for row in rows:
        assert row["help"] and row["min"] <= row["default"] <= row["max"], row
    assert "body_bytes_max" in binary.ok("settings")


def test_schema_of_an_order(binary):
    schema = json.loads(binary.ok("schema", "order"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    required = set(schema["required"])
    assert {"channel", "channel_order_id", "placed_at", "currency", "lines"} <= required
    assert "ship_to" in schema["properties"] and "ship_to" not in required


def test_schema_of_nothing_is_1(binary):
    done = binary.run("schema", "no-such-thing")
    assert done.returncode == 1 and done.stdout == ""


def test_key_life(binary, tmp_path):
    shop = tmp_path / "shop"
    binary.ok("init", shop)
    out = binary.ok("key", "create", "-C", shop, "--name", "till", "--scope", "orders:write",
                    "--scope", "stock:read")
    key = out.strip()
    assert len(out.splitlines()) == 1 and len(key) >= 20
    listing = binary.ok("key", "list", "-C", shop, "--json")
    rows = json.loads(listing)
    rows = rows if isinstance(rows, list) else rows.get("items") or rows.get("keys")
    row = next(r for r in rows if r["name"] == "till")
    assert sorted(row["scopes"]) == ["orders:write", "stock:read"]
    assert key not in listing, "a key is shown once, at its making"
    stored = [p for p in shop.rglob("*") if p.is_file() and key.encode() in p.read_bytes()]
    assert not stored, f"the key lies readable in {stored}"
    binary.ok("key", "revoke", "-C", shop, "--name", "till")
    assert binary.run("key", "revoke", "-C", shop, "--name", "nobody").returncode == 1


def test_key_scopes_are_listed_and_checked(binary, tmp_path):
    shop = tmp_path / "shop"
    binary.ok("init", shop)
    scopes = binary.ok("key", "scopes").split()
    assert "orders:write" in scopes and "stock:read" in scopes
    done = binary.run("key", "create", "-C", shop, "--name", "x", "--scope", "no:such")
    assert done.returncode in (1, 2) and done.stdout == ""


def test_serve_refuses_a_broken_configuration(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    config = tmp_path / "shop" / "penstock.yaml"
    config.write_text(config.read_text() + "\nno_such_member: 1\n")
    done = binary.run("serve", "-C", tmp_path / "shop", "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and re.search(r"penstock\.yaml:\d+", done.stderr), done


def test_a_setting_by_environment_out_of_bounds_is_refused(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    done = binary.run("serve", "-C", tmp_path / "shop", "--listen", "127.0.0.1:0",
                      env={"PENSTOCK_LOOP_THREADS": "100000"})
    assert done.returncode in (1, 2)
    assert "loop_threads" in done.stderr.lower()


def test_serve_says_when_the_port_is_taken(binary, tmp_path, hub):
    binary.ok("init", tmp_path / "shop")
    done = binary.run("serve", "-C", tmp_path / "shop", "--listen", f"127.0.0.1:{hub.port}")
    assert done.returncode == 1 and str(hub.port) in done.stderr


def test_two_hubs_never_share_a_journal(binary, hub):
    done = binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0", timeout_s=20)
    assert done.returncode == 1 and done.stderr.strip()


def test_journal_verify_where_there_is_none(binary, tmp_path):
    binary.ok("init", tmp_path / "shop")
    done = binary.run("journal", "verify", "-C", tmp_path / "shop")
    assert done.returncode == 1 and "journal" in done.stderr


def test_a_full_disk_of_stdout_is_a_failure(binary):
    import subprocess
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(binary.path), "openapi"], stdout=full,
                              stderr=subprocess.PIPE, env=binary.env, timeout=30, check=False)
    assert done.returncode == 1 and done.stderr
