
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'sockd' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'sockd'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'sockd' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('serve', 'serve', [CompletionResultType]::ParameterValue, 'Run the gateway')
            [CompletionResult]::new('emit', 'emit', [CompletionResultType]::ParameterValue, 'Push an event to a user, or a file of events')
            [CompletionResult]::new('force-logout', 'force-logout', [CompletionResultType]::ParameterValue, 'Make one session a user''s only session, and close the sockets of all others')
            [CompletionResult]::new('kick', 'kick', [CompletionResultType]::ParameterValue, 'Close all sockets of a user, and with --invalidate-session keep their tokens out')
            [CompletionResult]::new('drain', 'drain', [CompletionResultType]::ParameterValue, 'Close a share of a node''s connections, so that their clients come back on other nodes')
            [CompletionResult]::new('reload', 'reload', [CompletionResultType]::ParameterValue, 'Make a running node read its configuration again')
            [CompletionResult]::new('listen', 'listen', [CompletionResultType]::ParameterValue, 'Connect as a user would, and print events as they come')
            [CompletionResult]::new('trace', 'trace', [CompletionResultType]::ParameterValue, 'Show what happens to a user, live and on all nodes')
            [CompletionResult]::new('token', 'token', [CompletionResultType]::ParameterValue, 'Mint and check tokens')
            [CompletionResult]::new('sessions', 'sessions', [CompletionResultType]::ParameterValue, 'Inspect the active sessions')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show the state of a node, or of all nodes')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Check everything that a server depends on, and say what to do')
            [CompletionResult]::new('config', 'config', [CompletionResultType]::ParameterValue, 'Check and show the configuration')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print shell completions')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print the manual page, or write one for each command')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockd;serve' {
            [CompletionResult]::new('--host', '--host', [CompletionResultType]::ParameterName, 'The address to listen on; :: means all IPv4 and IPv6 addresses')
            [CompletionResult]::new('--port', '--port', [CompletionResultType]::ParameterName, 'The port to listen on; 0 lets the system choose')
            [CompletionResult]::new('--internal-listen', '--internal-listen', [CompletionResultType]::ParameterName, 'Where to serve internal routes, health and metrics apart from the clients, such as 127.0.0.1:3001 or unix:/run/sockd/internal.sock')
            [CompletionResult]::new('--redis-url', '--redis-url', [CompletionResultType]::ParameterName, 'The Redis that stores sessions and connects nodes; put a password in REDIS_PASS or redis.password_file, since ps shows flags')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'What to log, such as info or info,sockd=debug')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'The format of the log')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Try it out: reads no configuration, generates secrets for this run, keeps sessions in memory, and prints the commands to paste next')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;emit' {
            [CompletionResult]::new('--batch', '--batch', [CompletionResultType]::ParameterName, 'Send one event per line of this file, - for stdin')
            [CompletionResult]::new('--concurrency', '--concurrency', [CompletionResultType]::ParameterName, 'How many lines of a batch to send at once; lines of one user stay in order')
            [CompletionResult]::new('--failed', '--failed', [CompletionResultType]::ParameterName, 'Where to keep the lines of a batch that failed [default: FILE.failed.ndjson]')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--require-online', '--require-online', [CompletionResultType]::ParameterName, 'Fail with exit code 5 if the user has no socket')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;force-logout' {
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;kick' {
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'What the clients are told: 1 to 64 printable ASCII characters [default: KICKED]')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--invalidate-session', '--invalidate-session', [CompletionResultType]::ParameterName, 'Replace the stored session by one that nobody has, so that tokens of the old one no longer work')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;drain' {
            [CompletionResult]::new('--share', '--share', [CompletionResultType]::ParameterName, 'The share of the open connections, from 0 to 1')
            [CompletionResult]::new('--over', '--over', [CompletionResultType]::ParameterName, 'Spread the closing over this time, at most a day')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;reload' {
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;listen' {
            [CompletionResult]::new('--token-file', '--token-file', [CompletionResultType]::ParameterName, 'A file with the token to connect with, - for stdin')
            [CompletionResult]::new('--session', '--session', [CompletionResultType]::ParameterName, 'The session to join as [default: the user''s active one]')
            [CompletionResult]::new('--count', '--count', [CompletionResultType]::ParameterName, 'End after N events')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'End after this time, such as 30s or 5m')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The address that clients connect to, such as https://push.example.com [default: SOCKD_URL, else the configured host and port]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin; needed only to ask a node that keeps its sessions in memory for the active one [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--new-session', '--new-session', [CompletionResultType]::ParameterName, 'Make up a session and make it active, for a user who has none')
            [CompletionResult]::new('--once', '--once', [CompletionResultType]::ParameterName, 'Fail when there is no connection, instead of trying again')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object per line')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;trace' {
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'End after this time, such as 30s or 5m')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--payloads', '--payloads', [CompletionResultType]::ParameterName, 'Show the payloads of events too')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object per line')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;token' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('mint', 'mint', [CompletionResultType]::ParameterValue, 'Mint a token, or many for a load test')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Check whether the server would accept a token, and if not, exactly why')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockd;token;mint' {
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'The token''s user [default: a random one, printed to stderr]')
            [CompletionResult]::new('--session', '--session', [CompletionResultType]::ParameterName, 'The token''s session [default: a random one, printed to stderr]')
            [CompletionResult]::new('--ttl', '--ttl', [CompletionResultType]::ParameterName, 'How long the token is valid, such as 30s, 1h or 7d; none never expires')
            [CompletionResult]::new('--claim', '--claim', [CompletionResultType]::ParameterName, 'An additional claim, which overrides all others; VALUE is JSON, or else a string')
            [CompletionResult]::new('--alg', '--alg', [CompletionResultType]::ParameterName, 'The algorithm [default: the first configured one that fits the key]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'A file with the secret or the private key, as @FILE; - for stdin [default: the configured secret]')
            [CompletionResult]::new('--count', '--count', [CompletionResultType]::ParameterName, 'Mint N tokens as one JSON object per line, each for a new user and session unless given')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the token as JSON with its user and session')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;token;check' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;token;help' {
            [CompletionResult]::new('mint', 'mint', [CompletionResultType]::ParameterValue, 'Mint a token, or many for a load test')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Check whether the server would accept a token, and if not, exactly why')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockd;token;help;mint' {
            break
        }
        'sockd;token;help;check' {
            break
        }
        'sockd;token;help;help' {
            break
        }
        'sockd;sessions' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('ls', 'ls', [CompletionResultType]::ParameterValue, 'List the active sessions, from Redis or from a node that keeps them in memory')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show a user''s session and sockets, on all nodes')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Remove a user''s stored session, so that the next session that comes is adopted')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockd;sessions;ls' {
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'List only this user''s session')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'List at most N sessions')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'Ask this node, which keeps its sessions in memory, instead of the configured Redis; without a Redis, a node is always asked [default: SOCKD_URL, else the configured host and port]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for a node''s internal API, - for stdin; not needed for Redis [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object per line')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;sessions;show' {
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;sessions;rm' {
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;sessions;help' {
            [CompletionResult]::new('ls', 'ls', [CompletionResultType]::ParameterValue, 'List the active sessions, from Redis or from a node that keeps them in memory')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show a user''s session and sockets, on all nodes')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Remove a user''s stored session, so that the next session that comes is adopted')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockd;sessions;help;ls' {
            break
        }
        'sockd;sessions;help;show' {
            break
        }
        'sockd;sessions;help;rm' {
            break
        }
        'sockd;sessions;help;help' {
            break
        }
        'sockd;status' {
            [CompletionResult]::new('--interval', '--interval', [CompletionResultType]::ParameterName, 'How often with --watch, such as 500ms or 10s [default: 2s]')
            [CompletionResult]::new('--url', '--url', [CompletionResultType]::ParameterName, 'The node''s address, such as http://127.0.0.1:3000 or unix:/run/sockd/internal.sock [default: SOCKD_URL, else where the configuration has the internal routes]')
            [CompletionResult]::new('--secret-file', '--secret-file', [CompletionResultType]::ParameterName, 'A file with the secret for the internal API, - for stdin [default: the configured secret]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Show every node on the same Redis')
            [CompletionResult]::new('--watch', '--watch', [CompletionResultType]::ParameterName, 'Show it again and again, until Ctrl-C; with --json as a line each time')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, not directly')
            [CompletionResult]::new('--proxy-protocol', '--proxy-protocol', [CompletionResultType]::ParameterName, 'Begin connections with a header of the PROXY protocol, as a listener with proxy_protocol demands [default: as configured, but not with --url or SOCKD_URL]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;doctor' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;config' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Check the configuration, and list every problem')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Print every setting with its value and origin; secrets are redacted')
            [CompletionResult]::new('example', 'example', [CompletionResultType]::ParameterValue, 'Print a configuration file with every setting, its default and its purpose')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockd;config;check' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print the result as JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;config;show' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object per line')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;config;example' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;config;help' {
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Check the configuration, and list every problem')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Print every setting with its value and origin; secrets are redacted')
            [CompletionResult]::new('example', 'example', [CompletionResultType]::ParameterValue, 'Print a configuration file with every setting, its default and its purpose')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockd;config;help;check' {
            break
        }
        'sockd;config;help;show' {
            break
        }
        'sockd;config;help;example' {
            break
        }
        'sockd;config;help;help' {
            break
        }
        'sockd;completions' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;man' {
            [CompletionResult]::new('--directory', '--directory', [CompletionResultType]::ParameterName, 'Write a page for each command into this directory, instead of printing that of sockd')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            break
        }
        'sockd;help' {
            [CompletionResult]::new('serve', 'serve', [CompletionResultType]::ParameterValue, 'Run the gateway')
            [CompletionResult]::new('emit', 'emit', [CompletionResultType]::ParameterValue, 'Push an event to a user, or a file of events')
            [CompletionResult]::new('force-logout', 'force-logout', [CompletionResultType]::ParameterValue, 'Make one session a user''s only session, and close the sockets of all others')
            [CompletionResult]::new('kick', 'kick', [CompletionResultType]::ParameterValue, 'Close all sockets of a user, and with --invalidate-session keep their tokens out')
            [CompletionResult]::new('drain', 'drain', [CompletionResultType]::ParameterValue, 'Close a share of a node''s connections, so that their clients come back on other nodes')
            [CompletionResult]::new('reload', 'reload', [CompletionResultType]::ParameterValue, 'Make a running node read its configuration again')
            [CompletionResult]::new('listen', 'listen', [CompletionResultType]::ParameterValue, 'Connect as a user would, and print events as they come')
            [CompletionResult]::new('trace', 'trace', [CompletionResultType]::ParameterValue, 'Show what happens to a user, live and on all nodes')
            [CompletionResult]::new('token', 'token', [CompletionResultType]::ParameterValue, 'Mint and check tokens')
            [CompletionResult]::new('sessions', 'sessions', [CompletionResultType]::ParameterValue, 'Inspect the active sessions')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show the state of a node, or of all nodes')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Check everything that a server depends on, and say what to do')
            [CompletionResult]::new('config', 'config', [CompletionResultType]::ParameterValue, 'Check and show the configuration')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print shell completions')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print the manual page, or write one for each command')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'sockd;help;serve' {
            break
        }
        'sockd;help;emit' {
            break
        }
        'sockd;help;force-logout' {
            break
        }
        'sockd;help;kick' {
            break
        }
        'sockd;help;drain' {
            break
        }
        'sockd;help;reload' {
            break
        }
        'sockd;help;listen' {
            break
        }
        'sockd;help;trace' {
            break
        }
        'sockd;help;token' {
            [CompletionResult]::new('mint', 'mint', [CompletionResultType]::ParameterValue, 'Mint a token, or many for a load test')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Check whether the server would accept a token, and if not, exactly why')
            break
        }
        'sockd;help;token;mint' {
            break
        }
        'sockd;help;token;check' {
            break
        }
        'sockd;help;sessions' {
            [CompletionResult]::new('ls', 'ls', [CompletionResultType]::ParameterValue, 'List the active sessions, from Redis or from a node that keeps them in memory')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show a user''s session and sockets, on all nodes')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Remove a user''s stored session, so that the next session that comes is adopted')
            break
        }
        'sockd;help;sessions;ls' {
            break
        }
        'sockd;help;sessions;show' {
            break
        }
        'sockd;help;sessions;rm' {
            break
        }
        'sockd;help;status' {
            break
        }
        'sockd;help;doctor' {
            break
        }
        'sockd;help;config' {
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Check the configuration, and list every problem')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Print every setting with its value and origin; secrets are redacted')
            [CompletionResult]::new('example', 'example', [CompletionResultType]::ParameterValue, 'Print a configuration file with every setting, its default and its purpose')
            break
        }
        'sockd;help;config;check' {
            break
        }
        'sockd;help;config;show' {
            break
        }
        'sockd;help;config;example' {
            break
        }
        'sockd;help;completions' {
            break
        }
        'sockd;help;man' {
            break
        }
        'sockd;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
