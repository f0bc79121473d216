#!/bin/sh
# Makes what compose.yaml reads out of ./secrets; what is there already stays as it is.
set -eu
umask 077
mkdir -p secrets
cd secrets

random() { openssl rand -hex 32; }
# The folder is closed to others; in a container the service's own user reads the file.
keep() { test -e "$1" || { printf '%s\n' "$2" >"$1.new" && chmod 444 "$1.new" && mv "$1.new" "$1"; }; }

keep owner_password "$(random)"
keep runtime_password "$(random)"
keep broker_password "$(random)"
keep jwt_secret "$(random)"
keep pin_pepper "1:$(random)"
keep event_keys "1:$(random)"

owner="postgresql://paybell_owner:$(cat owner_password)@postgres"
runtime="postgresql://paybell_runtime:$(cat runtime_password)@postgres"
keep owner_database_url "$owner/pay"
keep owner_trade_database_url "$owner/trade"
keep database_url "$runtime/pay"
keep trade_database_url "$runtime/trade"
keep broker_url "amqp://paybell:$(cat broker_password)@rabbitmq"
keep rabbitmq_conf "default_user = paybell
default_pass = $(cat broker_password)"
