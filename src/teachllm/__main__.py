from teachllm.cli import main

main()
