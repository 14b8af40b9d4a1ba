# Sourced by the scripts here. Everything that they build and run lies under PEERS_DATA.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PEERS_DATA=${PEERS_DATA:-$here/../../target/peers}
mkdir -p "$PEERS_DATA/data"
PEERS_DATA=$(cd "$PEERS_DATA" && pwd)
export CARGO_TARGET_DIR=$PEERS_DATA/target
restate_server=$PEERS_DATA/npm/node_modules/@restatedev/restate-server-linux-x64/bin/restate-server
for bin in /usr/lib/postgresql/*/bin; do PATH=$PATH:$bin; done
