# cmake -DOUT=FILE.cpp -DNAME=function -DIN=FILE -P embed_text.cmake: a function in namespace crossover that returns the file's text.
file(READ "${IN}" content)
file(WRITE "${OUT}" "namespace crossover {\n\nconst char* ${NAME}();\nconst char* ${NAME}() { return R\"~text~(${content})~text~\"; }\n\n}  // namespace crossover\n")
