# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sockd_global_optspecs
    string join \n config= h/help V/version
end

function __fish_sockd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sockd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sockd_using_subcommand
    set -l cmd (__fish_sockd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sockd -n "__fish_sockd_needs_command" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_needs_command" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_needs_command" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "serve" -d 'Run the gateway'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "emit" -d 'Push an event to a user, or a file of events'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "force-logout" -d 'Make one session a user\'s only session, and close the sockets of all others'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "kick" -d 'Close all sockets of a user, and with --invalidate-session keep their tokens out'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "drain" -d 'Close a share of a node\'s connections, so that their clients come back on other nodes'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "reload" -d 'Make a running node read its configuration again'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "listen" -d 'Connect as a user would, and print events as they come'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "trace" -d 'Show what happens to a user, live and on all nodes'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "token" -d 'Mint and check tokens'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "sessions" -d 'Inspect the active sessions'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "status" -d 'Show the state of a node, or of all nodes'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "doctor" -d 'Check everything that a server depends on, and say what to do'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "config" -d 'Check and show the configuration'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "completions" -d 'Print shell completions'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "man" -d 'Print the manual page, or write one for each command'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l host -d 'The address to listen on; :: means all IPv4 and IPv6 addresses' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l port -d 'The port to listen on; 0 lets the system choose' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l internal-listen -d 'Where to serve internal routes, health and metrics apart from the clients, such as 127.0.0.1:3001 or unix:/run/sockd/internal.sock' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l redis-url -d 'The Redis that stores sessions and connects nodes; put a password in REDIS_PASS or redis.password_file, since ps shows flags' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l log-level -d 'What to log, such as info or info,sockd=debug' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l log-format -d 'The format of the log' -r -f -a "text\t''
json\t''"
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l dev -d 'Try it out: reads no configuration, generates secrets for this run, keeps sessions in memory, and prints the commands to paste next'
complete -c sockd -n "__fish_sockd_using_subcommand serve" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand serve" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l batch -d 'Send one event per line of this file, - for stdin' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l concurrency -d 'How many lines of a batch to send at once; lines of one user stay in order' -r
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l failed -d 'Where to keep the lines of a batch that failed [default: FILE.failed.ndjson]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l require-online -d 'Fail with exit code 5 if the user has no socket'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand kick" -l reason -d 'What the clients are told: 1 to 64 printable ASCII characters [default: KICKED]' -r
complete -c sockd -n "__fish_sockd_using_subcommand kick" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand kick" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand kick" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand kick" -l invalidate-session -d 'Replace the stored session by one that nobody has, so that tokens of the old one no longer work'
complete -c sockd -n "__fish_sockd_using_subcommand kick" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand kick" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand kick" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand kick" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand kick" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand drain" -l share -d 'The share of the open connections, from 0 to 1' -r
complete -c sockd -n "__fish_sockd_using_subcommand drain" -l over -d 'Spread the closing over this time, at most a day' -r
complete -c sockd -n "__fish_sockd_using_subcommand drain" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand drain" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand drain" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand drain" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand drain" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand drain" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand drain" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand drain" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand reload" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand reload" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand reload" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand reload" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand reload" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand reload" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand reload" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand reload" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l token-file -d 'A file with the token to connect with, - for stdin' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l session -d 'The session to join as [default: the user\'s active one]' -r
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l count -d 'End after N events' -r
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l timeout -d 'End after this time, such as 30s or 5m' -r
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l url -d 'The address that clients connect to, such as https://push.example.com [default: SOCKD_URL, else the configured host and port]' -r
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l secret-file -d 'A file with the secret for the internal API, - for stdin; needed only to ask a node that keeps its sessions in memory for the active one [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l new-session -d 'Make up a session and make it active, for a user who has none'
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l once -d 'Fail when there is no connection, instead of trying again'
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l json -d 'Print one JSON object per line'
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand listen" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand listen" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand listen" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand trace" -l timeout -d 'End after this time, such as 30s or 5m' -r
complete -c sockd -n "__fish_sockd_using_subcommand trace" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand trace" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand trace" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand trace" -l payloads -d 'Show the payloads of events too'
complete -c sockd -n "__fish_sockd_using_subcommand trace" -l json -d 'Print one JSON object per line'
complete -c sockd -n "__fish_sockd_using_subcommand trace" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand trace" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand trace" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand trace" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -f -a "mint" -d 'Mint a token, or many for a load test'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -f -a "check" -d 'Check whether the server would accept a token, and if not, exactly why'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l user -d 'The token\'s user [default: a random one, printed to stderr]' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l session -d 'The token\'s session [default: a random one, printed to stderr]' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l ttl -d 'How long the token is valid, such as 30s, 1h or 7d; none never expires' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l claim -d 'An additional claim, which overrides all others; VALUE is JSON, or else a string' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l alg -d 'The algorithm [default: the first configured one that fits the key]' -r -f -a "HS256\t''
HS384\t''
HS512\t''
RS256\t''
RS384\t''
RS512\t''
PS256\t''
PS384\t''
PS512\t''
ES256\t''
ES384\t''
EdDSA\t''"
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l key -d 'A file with the secret or the private key, as @FILE; - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l count -d 'Mint N tokens as one JSON object per line, each for a new user and session unless given' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l json -d 'Print the token as JSON with its user and session'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from check" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from check" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "mint" -d 'Mint a token, or many for a load test'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check whether the server would accept a token, and if not, exactly why'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls show rm help" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls show rm help" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls show rm help" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls show rm help" -f -a "ls" -d 'List the active sessions, from Redis or from a node that keeps them in memory'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls show rm help" -f -a "show" -d 'Show a user\'s session and sockets, on all nodes'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls show rm help" -f -a "rm" -d 'Remove a user\'s stored session, so that the next session that comes is adopted'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls show rm help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l user -d 'List only this user\'s session' -r
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l limit -d 'List at most N sessions' -r
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l url -d 'Ask this node, which keeps its sessions in memory, instead of the configured Redis; without a Redis, a node is always asked [default: SOCKD_URL, else the configured host and port]' -r
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l secret-file -d 'A file with the secret for a node\'s internal API, - for stdin; not needed for Redis [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l json -d 'Print one JSON object per line'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from show" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from show" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from show" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from show" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from show" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from show" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from rm" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from rm" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from rm" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from rm" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from rm" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from rm" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from rm" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from help" -f -a "ls" -d 'List the active sessions, from Redis or from a node that keeps them in memory'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a user\'s session and sockets, on all nodes'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from help" -f -a "rm" -d 'Remove a user\'s stored session, so that the next session that comes is adopted'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand status" -l interval -d 'How often with --watch, such as 500ms or 10s [default: 2s]' -r
complete -c sockd -n "__fish_sockd_using_subcommand status" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]' -r
complete -c sockd -n "__fish_sockd_using_subcommand status" -l secret-file -d 'A file with the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand status" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand status" -l all -d 'Show every node on the same Redis'
complete -c sockd -n "__fish_sockd_using_subcommand status" -l watch -d 'Show it again and again, until Ctrl-C; with --json as a line each time'
complete -c sockd -n "__fish_sockd_using_subcommand status" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand status" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
complete -c sockd -n "__fish_sockd_using_subcommand status" -l proxy-protocol -d 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
complete -c sockd -n "__fish_sockd_using_subcommand status" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand status" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand doctor" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand doctor" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -f -a "check" -d 'Check the configuration, and list every problem'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -f -a "show" -d 'Print every setting with its value and origin; secrets are redacted'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -f -a "example" -d 'Print a configuration file with every setting, its default and its purpose'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from check" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object per line'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from example" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from example" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from example" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check the configuration, and list every problem'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print every setting with its value and origin; secrets are redacted'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "example" -d 'Print a configuration file with every setting, its default and its purpose'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand completions" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand completions" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand completions" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand man" -l directory -d 'Write a page for each command into this directory, instead of printing that of sockd' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand man" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand man" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand man" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "serve" -d 'Run the gateway'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "emit" -d 'Push an event to a user, or a file of events'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "force-logout" -d 'Make one session a user\'s only session, and close the sockets of all others'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "kick" -d 'Close all sockets of a user, and with --invalidate-session keep their tokens out'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "drain" -d 'Close a share of a node\'s connections, so that their clients come back on other nodes'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "reload" -d 'Make a running node read its configuration again'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "listen" -d 'Connect as a user would, and print events as they come'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "trace" -d 'Show what happens to a user, live and on all nodes'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "token" -d 'Mint and check tokens'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "sessions" -d 'Inspect the active sessions'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "status" -d 'Show the state of a node, or of all nodes'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "doctor" -d 'Check everything that a server depends on, and say what to do'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "config" -d 'Check and show the configuration'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "completions" -d 'Print shell completions'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "man" -d 'Print the manual page, or write one for each command'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout kick drain reload listen trace token sessions status doctor config completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "mint" -d 'Mint a token, or many for a load test'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "check" -d 'Check whether the server would accept a token, and if not, exactly why'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from sessions" -f -a "ls" -d 'List the active sessions, from Redis or from a node that keeps them in memory'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from sessions" -f -a "show" -d 'Show a user\'s session and sockets, on all nodes'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from sessions" -f -a "rm" -d 'Remove a user\'s stored session, so that the next session that comes is adopted'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Check the configuration, and list every problem'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print every setting with its value and origin; secrets are redacted'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "example" -d 'Print a configuration file with every setting, its default and its purpose'
