// What the generated class needs of Android and LiteRT, and a main that says how it was bound.

package android.content

class Assets(private val folder: String) {
    class File(path: String) : java.io.Closeable {
        private val stream = java.io.FileInputStream(path)
        val fileDescriptor: java.io.FileDescriptor = stream.fd
        val startOffset = 0L
        val declaredLength: Long = java.io.File(path).length()
        override fun close() = stream.close()
    }
    fun openFd(name: String) = File("$folder/$name")
    fun open(name: String): java.io.InputStream = java.io.FileInputStream("$folder/$name")
}

class Context(folder: String) { val assets = Assets(folder) }
