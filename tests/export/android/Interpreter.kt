package org.tensorflow.lite

import java.lang.reflect.Array as Reflected
import java.nio.ByteBuffer

/** Says what it was given, a line a tensor: name, Java type, shape, first values. */
class Interpreter(model: ByteBuffer, options: Options) : AutoCloseable {
    class Options { fun setNumThreads(count: Int): Options { require(count > 0); return this } }

    init { require(model.capacity() > 0) }

    fun getSignatureInputs(signature: String): kotlin.Array<String> {
        require(signature == "portable")
        return System.getenv("SIGNATURE_INPUTS").split(",").toTypedArray()
    }

    fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, signature: String) {
        require(signature == "portable")
        for ((name, value) in inputs.toSortedMap()) {
            val shape = ArrayList<Int>()
            var inner: Any = value
            while (inner.javaClass.isArray && inner.javaClass.componentType.isArray) {
                shape.add(Reflected.getLength(inner))
                inner = Reflected.get(inner, 0)
            }
            shape.add(Reflected.getLength(inner))
            val few = (0 until minOf(Reflected.getLength(inner), 4)).map { Reflected.get(inner, it) }
            println("$name ${inner.javaClass.componentType} $shape $few")
        }
        for ((name, value) in outputs) {
            val buffer = value as ByteBuffer
            println("-> $name ${buffer.capacity()}")
            while (buffer.remaining() >= 4) buffer.putFloat(0.5f)
        }
        println("---")
    }

    override fun close() {}
}
