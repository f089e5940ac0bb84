#!/usr/bin/env bash
#
# DevStack plugin: LBaaS in the place of Octavia. DevStack calls it in each phase with
# "stack pre-install|install|post-config|extra|test-config", "unstack" and "clean".
#
# Services keep Octavia's names, so that local.conf files and jobs written for Octavia go on:
#   o-api   lbaas server --roles api
#   o-cw    lbaas server --roles reconciler
#   o-hk    lbaas server --roles housekeeping
#   o-hm    lbaas server --roles health-manager
#   o-agent lbaas agent (as root: XDP, network namespaces)
#
# It is checked with shellcheck; a whole DevStack has not been run with it.
#
# shellcheck disable=SC2154
# (variables such as DEST, SERVICE_HOST and REGION_NAME are DevStack's)

# Save and restore DevStack's tracing.
_XTRACE_LBAAS=$(set +o | grep xtrace)
set +o xtrace

# DevStack may reach this file through a link in extras.d.
LBAAS_PLUGIN_DIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=settings
source "$LBAAS_PLUGIN_DIR/settings"

function is_lbaas_enabled {
    [[ ,${ENABLED_SERVICES} =~ ,o-(api|cw|hk|hm|agent)(,|$) ]]
}

# Builds the binary. rustup's stable Rust must be there: DevStack does not install compilers.
function install_lbaas {
    if ! command -v cargo >/dev/null; then
        die $LINENO "LBaaS needs Rust: install rustup's stable toolchain for user $STACK_USER first"
    fi
    # The eBPF toolchain and libraries come from packages, and only root installs those.
    (cd "$LBAAS_DIR" && sudo -E env "PATH=$PATH" cargo xtask setup)
    (cd "$LBAAS_DIR" && cargo xtask build-ebpf && cargo build --release --bin lbaas)
    sudo install -m 0755 "$LBAAS_DIR/target/release/lbaas" "$LBAAS_BIN"
    pip_install_gr python-octaviaclient
}

# Keystone: the service user, the service and its endpoint, and Octavia's roles.
function create_lbaas_accounts {
    create_service_user "$LBAAS_SERVICE_USER" admin
    get_or_create_service octavia load-balancer "Octavia Load Balancing Service"
    get_or_create_endpoint load-balancer "$REGION_NAME" "$LBAAS_API_URL"
    local role
    for role in observer member admin global_observer quota_admin; do
        get_or_create_role "load-balancer_$role"
    done
}

function configure_lbaas {
    sudo install -d -o "$STACK_USER" -m 0750 "$LBAAS_CONF_DIR" "$LBAAS_STATE_DIR" "$LBAAS_RUN_DIR"
    sudo install -o "$STACK_USER" -m 0640 /dev/null "$LBAAS_CONF"
    cat >"$LBAAS_CONF" <<EOF
state_dir = "$LBAAS_STATE_DIR"
run_dir = "$LBAAS_RUN_DIR"

[api]
listen = "$LBAAS_API_BIND:$LBAAS_API_PORT"
auth_strategy = "keystone"

[database]
url = "postgresql://$DATABASE_USER:$DATABASE_PASSWORD@$DATABASE_HOST/lbaas"

[keystone]
auth_url = "$KEYSTONE_SERVICE_URI"
username = "$LBAAS_SERVICE_USER"
password = "$SERVICE_PASSWORD"
project_name = "$SERVICE_PROJECT_NAME"
user_domain_name = "$SERVICE_DOMAIN_NAME"
project_domain_name = "$SERVICE_DOMAIN_NAME"

[controller]
sync_listen = "$LBAAS_SYNC_BIND:$LBAAS_SYNC_PORT"
loadbalancer_topology = "$LBAAS_TOPOLOGY"
EOF
    if [[ -n "$LBAAS_NETWORKS_FILE" ]]; then
        cat "$LBAAS_NETWORKS_FILE" >>"$LBAAS_CONF"
    else
        # Every network exists and addresses are made up: for API tests, as with Octavia's
        # no-op drivers.
        printf '\n[network]\ndriver = "noop"\n' >>"$LBAAS_CONF"
    fi
}

function init_lbaas {
    # One SQL text serves SQLite and PostgreSQL; several processes need the latter.
    if ! is_service_enabled postgresql; then
        die $LINENO "LBaaS needs PostgreSQL here: enable_service postgresql, disable_service mysql"
    fi
    recreate_database lbaas
}

# Starts a server process that fulfils one role. Each has sockets and files of its own.
function start_lbaas_role {
    local service=$1 role=$2
    is_service_enabled "$service" || return 0
    run_process "$service" "$LBAAS_BIN --config $LBAAS_CONF server --roles $role"
}

function start_lbaas {
    start_lbaas_role o-api api
    start_lbaas_role o-cw reconciler
    start_lbaas_role o-hm health-manager
    start_lbaas_role o-hk housekeeping
    if is_service_enabled o-agent; then
        local simulate=""
        [[ "$LBAAS_SIMULATE" == "True" ]] && simulate="--simulate"
        run_process o-agent "$LBAAS_BIN --config $LBAAS_CONF agent $simulate" "" root
    fi
    if is_service_enabled o-api; then
        if ! wait_for_service "$SERVICE_TIMEOUT" "$LBAAS_API_URL/"; then
            die $LINENO "the LBaaS API did not start"
        fi
    fi
}

function stop_lbaas {
    local service
    for service in o-agent o-api o-cw o-hk o-hm; do
        stop_process "$service"
    done
}

function cleanup_lbaas {
    # The agent takes down what it made on this host: namespaces, interfaces, pinned maps.
    if [[ -x "$LBAAS_BIN" && -f "$LBAAS_CONF" ]]; then
        sudo "$LBAAS_BIN" --config "$LBAAS_CONF" agent --teardown || true
    fi
    sudo rm -rf "$LBAAS_CONF_DIR" "$LBAAS_STATE_DIR" "$LBAAS_RUN_DIR" "$LBAAS_BIN"
}

if is_lbaas_enabled; then
    case "$1/${2:-}" in
        stack/install)
            echo_summary "Installing LBaaS"
            install_lbaas
            ;;
        stack/post-config)
            echo_summary "Configuring LBaaS"
            create_lbaas_accounts
            configure_lbaas
            init_lbaas
            ;;
        stack/extra)
            echo_summary "Starting LBaaS"
            start_lbaas
            ;;
        unstack/*)
            stop_lbaas
            ;;
        clean/*)
            cleanup_lbaas
            ;;
    esac
fi

$_XTRACE_LBAAS
