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
complete -c sockd -n "__fish_sockd_needs_command" -f -a "force-logout" -d 'Make one session a user\'s only one, and close the sockets of all others'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "token" -d 'Make and judge tokens'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "sessions" -d 'Look at the active sessions'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "doctor" -d 'Check all that a server stands on, and say what to do'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "config" -d 'Look at the configuration'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c sockd -n "__fish_sockd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l host -d 'The address to listen on; :: is all of IPv4 and IPv6' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l port -d 'The port to listen on; 0 lets the system choose' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l redis-url -d 'Where sessions are kept and other nodes are met; a password belongs into REDIS_PASS or redis.password_file, since ps shows flags' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l log-level -d 'What is logged, such as info or info,sockd=debug' -r
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l log-format -d 'How it is logged' -r -f -a "text\t''
json\t''"
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand serve" -l dev -d 'Try it out: no configuration is read, secrets are made for this run, sessions stay in memory, and the terminal shows what to paste next'
complete -c sockd -n "__fish_sockd_using_subcommand serve" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand serve" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l batch -d 'Send one event per line of this file, - for stdin' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l concurrency -d 'How many lines of a batch are under way at once; lines of one user stay in order' -r
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l failed -d 'Where the lines of a batch that failed are kept [default: FILE.failed.ndjson]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 [default: SOCKD_URL, else the configured host and port]' -r
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l secret-file -d 'A file that holds the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l require-online -d 'Fail with exit code 5 if the user has no socket'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name; without this it is called directly'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand emit" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l url -d 'The node\'s address, such as http://127.0.0.1:3000 [default: SOCKD_URL, else the configured host and port]' -r
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l secret-file -d 'A file that holds the secret for the internal API, - for stdin [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name; without this it is called directly'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand force-logout" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -f -a "mint" -d 'Make a token, or many for a load test'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -f -a "check" -d 'Say whether the server would admit a token, or exactly why not'
complete -c sockd -n "__fish_sockd_using_subcommand token; and not __fish_seen_subcommand_from mint check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l user -d 'The token\'s user [default: one made up, told on stderr]' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l session -d 'The token\'s session [default: one made up, told on stderr]' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l ttl -d 'How long the token is good, such as 30s, 1h or 7d; none for ever' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l claim -d 'A further claim, which wins over all others; VALUE is JSON, or else a string' -r
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
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l count -d 'Make so many, each of another user and session unless given, as one JSON object a line' -r
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -l json -d 'Print the token as JSON with its user and session'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from mint" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from check" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from check" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "mint" -d 'Make a token, or many for a load test'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "check" -d 'Say whether the server would admit a token, or exactly why not'
complete -c sockd -n "__fish_sockd_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls help" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls help" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls help" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls help" -f -a "ls" -d 'List the active sessions, from Redis or from a node that keeps them in memory'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and not __fish_seen_subcommand_from ls help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l user -d 'Only this user\'s session' -r
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l limit -d 'List at most so many' -r
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l url -d 'Ask this node, which keeps its sessions in memory, instead of the configured Redis; without a Redis it is asked anyhow [default then: SOCKD_URL, else the configured host and port]' -r
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l secret-file -d 'A file that holds the secret for a node\'s internal API, - for stdin; Redis does not need it [default: the configured secret]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l json -d 'Print one JSON object a line'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -l proxy -d 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name; without this it is called directly'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from help" -f -a "ls" -d 'List the active sessions, from Redis or from a node that keeps them in memory'
complete -c sockd -n "__fish_sockd_using_subcommand sessions; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand doctor" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand doctor" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -f -a "check" -d 'Say whether the configuration can be served, or all that is wrong with it'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -f -a "show" -d 'Print every setting with its value and where it came from; secrets are redacted'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -f -a "example" -d 'Print a configuration file with every setting, its default and what it is for'
complete -c sockd -n "__fish_sockd_using_subcommand config; and not __fish_seen_subcommand_from check show example help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from check" -l json -d 'Print the result as JSON'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object a line'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from example" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from example" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from example" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Say whether the configuration can be served, or all that is wrong with it'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print every setting with its value and where it came from; secrets are redacted'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "example" -d 'Print a configuration file with every setting, its default and what it is for'
complete -c sockd -n "__fish_sockd_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand completions" -l config -d 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]' -r -F
complete -c sockd -n "__fish_sockd_using_subcommand completions" -s h -l help -d 'Print help'
complete -c sockd -n "__fish_sockd_using_subcommand completions" -s V -l version -d 'Print version'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "serve" -d 'Run the gateway'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "emit" -d 'Push an event to a user, or a file of events'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "force-logout" -d 'Make one session a user\'s only one, and close the sockets of all others'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "token" -d 'Make and judge tokens'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "sessions" -d 'Look at the active sessions'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "doctor" -d 'Check all that a server stands on, and say what to do'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "config" -d 'Look at the configuration'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "completions" -d 'Print the completions for a shell'
complete -c sockd -n "__fish_sockd_using_subcommand help; and not __fish_seen_subcommand_from serve emit force-logout token sessions doctor config completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "mint" -d 'Make a token, or many for a load test'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "check" -d 'Say whether the server would admit a token, or exactly why not'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from sessions" -f -a "ls" -d 'List the active sessions, from Redis or from a node that keeps them in memory'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Say whether the configuration can be served, or all that is wrong with it'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print every setting with its value and where it came from; secrets are redacted'
complete -c sockd -n "__fish_sockd_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "example" -d 'Print a configuration file with every setting, its default and what it is for'
