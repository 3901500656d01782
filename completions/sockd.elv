
use builtin;
use str;

set edit:completion:arg-completer[sockd] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'sockd'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'sockd'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand serve 'Run the gateway'
            cand emit 'Push an event to a user, or a file of events'
            cand force-logout 'Make one session a user''s only session, and close the sockets of all others'
            cand kick 'Close all sockets of a user, and with --invalidate-session keep their tokens out'
            cand drain 'Close a share of a node''s connections, so that their clients come back on other nodes'
            cand reload 'Make a running node read its configuration again'
            cand listen 'Connect as a user would, and print events as they come'
            cand trace 'Show what happens to a user, live and on all nodes'
            cand token 'Mint and check tokens'
            cand sessions 'Inspect the active sessions'
            cand status 'Show the state of a node, or of all nodes'
            cand doctor 'Check everything that a server depends on, and say what to do'
            cand config 'Check and show the configuration'
            cand completions 'Print shell completions'
            cand man 'Print the manual page, or write one for each command'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;serve'= {
            cand --host 'The address to listen on; :: means all IPv4 and IPv6 addresses'
            cand --port 'The port to listen on; 0 lets the system choose'
            cand --internal-listen 'Where to serve internal routes, health and metrics apart from the clients, such as 127.0.0.1:3001 or unix:/run/sockd/internal.sock'
            cand --redis-url 'The Redis that stores sessions and connects nodes; put a password in REDIS_PASS or redis.password_file, since ps shows flags'
            cand --log-level 'What to log, such as info or info,sockd=debug'
            cand --log-format 'The format of the log'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --dev 'Try it out: reads no configuration, generates secrets for this run, keeps sessions in memory, and prints the commands to paste next'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;emit'= {
            cand --batch 'Send one event per line of this file, - for stdin'
            cand --concurrency 'How many lines of a batch to send at once; lines of one user stay in order'
            cand --failed 'Where to keep the lines of a batch that failed [default: FILE.failed.ndjson]'
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --require-online 'Fail with exit code 5 if the user has no socket'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;force-logout'= {
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;kick'= {
            cand --reason 'What the clients are told: 1 to 64 printable ASCII characters [default: KICKED]'
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --invalidate-session 'Replace the stored session by one that nobody has, so that tokens of the old one no longer work'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;drain'= {
            cand --share 'The share of the open connections, from 0 to 1'
            cand --over 'Spread the closing over this time, at most a day'
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;reload'= {
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;listen'= {
            cand --token-file 'A file with the token to connect with, - for stdin'
            cand --session 'The session to join as [default: the user''s active one]'
            cand --count 'End after N events'
            cand --timeout 'End after this time, such as 30s or 5m'
            cand --url 'The address that clients connect to, such as https://push.example.com [default: SOCKD_URL, else the configured host and port]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin; needed only to ask a node that keeps its sessions in memory for the active one [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --new-session 'Make up a session and make it active, for a user who has none'
            cand --once 'Fail when there is no connection, instead of trying again'
            cand --json 'Print one JSON object per line'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;trace'= {
            cand --timeout 'End after this time, such as 30s or 5m'
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --payloads 'Show the payloads of events too'
            cand --json 'Print one JSON object per line'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;token'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand mint 'Mint a token, or many for a load test'
            cand check 'Check whether the server would accept a token, and if not, exactly why'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;token;mint'= {
            cand --user 'The token''s user [default: a random one, printed to stderr]'
            cand --session 'The token''s session [default: a random one, printed to stderr]'
            cand --ttl 'How long the token is valid, such as 30s, 1h or 7d; none never expires'
            cand --claim 'An additional claim, which overrides all others; VALUE is JSON, or else a string'
            cand --alg 'The algorithm [default: the first configured one that fits the key]'
            cand --key 'A file with the secret or the private key, as @FILE; - for stdin [default: the configured secret]'
            cand --count 'Mint N tokens as one JSON object per line, each for a new user and session unless given'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the token as JSON with its user and session'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;token;check'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;token;help'= {
            cand mint 'Mint a token, or many for a load test'
            cand check 'Check whether the server would accept a token, and if not, exactly why'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;token;help;mint'= {
        }
        &'sockd;token;help;check'= {
        }
        &'sockd;token;help;help'= {
        }
        &'sockd;sessions'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand ls 'List the active sessions, from Redis or from a node that keeps them in memory'
            cand show 'Show a user''s session and sockets, on all nodes'
            cand rm 'Remove a user''s stored session, so that the next session that comes is adopted'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;sessions;ls'= {
            cand --user 'List only this user''s session'
            cand --limit 'List at most N sessions'
            cand --url 'Ask this node, which keeps its sessions in memory, instead of the configured Redis; without a Redis, a node is always asked [default: SOCKD_URL, else the configured host and port]'
            cand --secret-file 'A file with the secret for a node''s internal API, - for stdin; not needed for Redis [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print one JSON object per line'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;sessions;show'= {
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;sessions;rm'= {
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;sessions;help'= {
            cand ls 'List the active sessions, from Redis or from a node that keeps them in memory'
            cand show 'Show a user''s session and sockets, on all nodes'
            cand rm 'Remove a user''s stored session, so that the next session that comes is adopted'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;sessions;help;ls'= {
        }
        &'sockd;sessions;help;show'= {
        }
        &'sockd;sessions;help;rm'= {
        }
        &'sockd;sessions;help;help'= {
        }
        &'sockd;status'= {
            cand --interval 'How often with --watch, such as 500ms or 10s [default: 2s]'
            cand --url 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]'
            cand --secret-file 'A file with the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --all 'Show every node on the same Redis'
            cand --watch 'Show it again and again, until Ctrl-C; with --json as a line each time'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly'
            cand --proxy-protocol 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;doctor'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;config'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand check 'Check the configuration, and list every problem'
            cand show 'Print every setting with its value and origin; secrets are redacted'
            cand example 'Print a configuration file with every setting, its default and its purpose'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;config;check'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;config;show'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print one JSON object per line'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;config;example'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;config;help'= {
            cand check 'Check the configuration, and list every problem'
            cand show 'Print every setting with its value and origin; secrets are redacted'
            cand example 'Print a configuration file with every setting, its default and its purpose'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;config;help;check'= {
        }
        &'sockd;config;help;show'= {
        }
        &'sockd;config;help;example'= {
        }
        &'sockd;config;help;help'= {
        }
        &'sockd;completions'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;man'= {
            cand --directory 'Write a page for each command into this directory, instead of printing that of sockd'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;help'= {
            cand serve 'Run the gateway'
            cand emit 'Push an event to a user, or a file of events'
            cand force-logout 'Make one session a user''s only session, and close the sockets of all others'
            cand kick 'Close all sockets of a user, and with --invalidate-session keep their tokens out'
            cand drain 'Close a share of a node''s connections, so that their clients come back on other nodes'
            cand reload 'Make a running node read its configuration again'
            cand listen 'Connect as a user would, and print events as they come'
            cand trace 'Show what happens to a user, live and on all nodes'
            cand token 'Mint and check tokens'
            cand sessions 'Inspect the active sessions'
            cand status 'Show the state of a node, or of all nodes'
            cand doctor 'Check everything that a server depends on, and say what to do'
            cand config 'Check and show the configuration'
            cand completions 'Print shell completions'
            cand man 'Print the manual page, or write one for each command'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;help;serve'= {
        }
        &'sockd;help;emit'= {
        }
        &'sockd;help;force-logout'= {
        }
        &'sockd;help;kick'= {
        }
        &'sockd;help;drain'= {
        }
        &'sockd;help;reload'= {
        }
        &'sockd;help;listen'= {
        }
        &'sockd;help;trace'= {
        }
        &'sockd;help;token'= {
            cand mint 'Mint a token, or many for a load test'
            cand check 'Check whether the server would accept a token, and if not, exactly why'
        }
        &'sockd;help;token;mint'= {
        }
        &'sockd;help;token;check'= {
        }
        &'sockd;help;sessions'= {
            cand ls 'List the active sessions, from Redis or from a node that keeps them in memory'
            cand show 'Show a user''s session and sockets, on all nodes'
            cand rm 'Remove a user''s stored session, so that the next session that comes is adopted'
        }
        &'sockd;help;sessions;ls'= {
        }
        &'sockd;help;sessions;show'= {
        }
        &'sockd;help;sessions;rm'= {
        }
        &'sockd;help;status'= {
        }
        &'sockd;help;doctor'= {
        }
        &'sockd;help;config'= {
            cand check 'Check the configuration, and list every problem'
            cand show 'Print every setting with its value and origin; secrets are redacted'
            cand example 'Print a configuration file with every setting, its default and its purpose'
        }
        &'sockd;help;config;check'= {
        }
        &'sockd;help;config;show'= {
        }
        &'sockd;help;config;example'= {
        }
        &'sockd;help;completions'= {
        }
        &'sockd;help;man'= {
        }
        &'sockd;help;help'= {
        }
    ]
    $completions[$command]
}
