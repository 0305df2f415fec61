# Completion of qwq for bash 4.4 or newer, as `qwq completion bash` prints it.
_qwq() {
    local type value letter typed=${COMP_LINE:0:COMP_POINT} offered=()
    while IFS=$'\t' read -r type value _; do
        case $type in
            plain) offered+=("$value") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(_QWQ_COMPLETE=bash_complete _QWQ_LINE=$typed "${1/#\~/$HOME}" 2>/dev/null)
    # Bash takes some letters for the end of a word, so that only what is behind the last of them is to be offered.
    typed=${typed##*[[:space:]]}
    for letter in : =; do
        if [[ $COMP_WORDBREAKS == *"$letter"* && $typed == *"$letter"* ]]; then
            offered=("${offered[@]#"${typed%"$letter"*}$letter"}")
            typed=${typed##*"$letter"}
        fi
    done
    COMPREPLY=()
    for value in "${offered[@]}"; do
        [[ $typed == [\"\']* ]] || printf -v value %q "$value"
        COMPREPLY+=("$value")
    done
}
complete -o nosort -F _qwq qwq
