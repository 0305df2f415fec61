# Completion of qwq for bash 4.4 or newer, as `qwq completion bash` prints it.
_qwq() {
    local type value letter before typed="" hidden=0 offered=()
    while IFS=$'\t' read -r type value _; do
        case $type in
            typed) typed=$value ;;
            plain) offered+=("$value") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(_QWQ_COMPLETE=bash_complete _QWQ_LINE=${COMP_LINE:0:COMP_POINT} "${1/#\~/$HOME}" 2>/dev/null)
    COMPREPLY=()
    if [[ ${COMP_WORDS[COMP_CWORD]} == [\"\']* ]]; then
        # Within the user's quotes a name must not end them, nor be run.
        for value in "${offered[@]}"; do
            if [[ ${COMP_WORDS[COMP_CWORD]} == \'* ]]; then
                value=${value//\'/"'\''"}
            else
                value=${value//\\/\\\\} value=${value//\"/\\\"} value=${value//\$/\\\$} value=${value//\`/\\\`}
            fi
            COMPREPLY+=("$value")
        done
        return
    fi
    # Bash takes some letters for the end of a word, so that only what is behind the last of them is to be offered.
    for letter in : =; do
        if [[ $COMP_WORDBREAKS == *"$letter"* && $typed == *"$letter"* ]]; then
            before=${typed%"$letter"*}$letter
            hidden=$((hidden + ${#before}))
            typed=${typed##*"$letter"}
        fi
    done
    for value in "${offered[@]}"; do
        printf -v value %q "${value:hidden}"
        COMPREPLY+=("$value")
    done
}
complete -o nosort -F _qwq qwq
